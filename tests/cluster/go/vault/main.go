// A Vault in memory, for tests: its own core, KV engine and HTTP handlers, behind TLS. The whole program embeds a hundred
// plugins of clouds and databases that nothing here asks for.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"

	hclog "github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// Arguments: the files of certificate and key. Says its address and the root token as one line of JSON.
func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error})
	storage, err := inmem.NewInmem(nil, logger)
	check(err)
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:        storage,
		Logger:          logger,
		DisableMlock:    true,
		LogicalBackends: map[string]logical.Factory{"kv": kv.Factory},
		BuiltinRegistry: onlyKV{},
	})
	check(err)
	ctx := context.Background()
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one, RecoveryConfig: one})
	check(err)
	_, err = core.Unseal(made.SecretShares[0])
	check(err)
	pair, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	check(json.NewEncoder(os.Stdout).Encode(map[string]string{"address": listener.Addr().String(), "token": made.RootToken}))
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core: core, ListenerConfig: &configutil.Listener{},
	})
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	check(server.ServeTLS(listener, "", ""))
}

// onlyKV says which plugins are built in: the engine that keeps secrets by key and value.
type onlyKV struct{}

func (onlyKV) Contains(name string, kind consts.PluginType) bool {
	return name == "kv" && kind == consts.PluginTypeSecrets
}

func (k onlyKV) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	return func() (interface{}, error) { return logical.Factory(kv.Factory), nil }, k.Contains(name, kind)
}

func (k onlyKV) Keys(kind consts.PluginType) []string {
	if k.Contains("kv", kind) {
		return []string{"kv"}
	}
	return nil
}

func (k onlyKV) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, k.Contains(name, kind)
}

func (onlyKV) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
