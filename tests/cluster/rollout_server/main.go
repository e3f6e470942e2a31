// A server for the tests of rollouts: says which release answers, and fails in the ways that the tests ask for.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What was answered since the last report, as docs/performance.md has it.
type counts struct {
	sync.Mutex
	statuses map[string]int
	ms       [][2]float64
}

func (c *counts) add(status string, took time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.statuses[status]++
	c.ms = append(c.ms, [2]float64{float64(took.Microseconds()+1) / 1000, 1})
}

func (c *counts) report(to, token string) {
	for range time.Tick(250 * time.Millisecond) {
		c.Lock()
		if len(c.statuses) == 0 {
			c.Unlock()
			continue
		}
		route := map[string]any{"statuses": c.statuses, "ms": c.ms}
		body, _ := json.Marshal(map[string]any{"routes": map[string]any{"/": route}})
		c.statuses, c.ms = map[string]int{}, nil
		c.Unlock()
		request, _ := http.NewRequest("POST", to+"/measure/report", bytes.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+token)
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
		} else {
			fmt.Println(err)
		}
	}
}

// A token of the environment becomes one of the release.
func narrowed(token, release string) string {
	last := strings.LastIndex(token, ".")
	key, _ := base64.URLEncoding.DecodeString(token[last+1:])
	claims, _ := json.Marshal(map[string]string{"r": release})
	part := base64.RawURLEncoding.EncodeToString(claims)
	digest := hmac.New(sha256.New, key)
	digest.Write([]byte(part))
	return token[:last] + "." + part + "." + base64.URLEncoding.EncodeToString(digest.Sum(nil)[:24])
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "migrate" {
		fmt.Println("migrating " + os.Getenv("WHAT"))
		if os.Getenv("WHAT") == "badly" {
			fmt.Println("the table is locked")
			os.Exit(4)
		}
		return
	}
	if why := os.Getenv("CRASH"); why != "" {
		fmt.Println("it breaks: " + why)
		os.Exit(3)
	}
	if wait, err := time.ParseDuration(os.Getenv("START")); err == nil {
		time.Sleep(wait)
	}
	release := os.Getenv("RELEASE")
	seen := &counts{statuses: map[string]int{}}
	if to := os.Getenv("MEASURE_URL"); to != "" {
		go seen.report(to, narrowed(os.Getenv("MEASURE_TOKEN"), release))
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("HEALTHY") == "no" {
			http.Error(w, "not well", 500)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", release)
		began, status := time.Now(), "2xx"
		defer func() { seen.add(status, time.Since(began)) }()
		if wait, err := time.ParseDuration(os.Getenv("SLOWER")); err == nil {
			time.Sleep(wait)
		}
		if share, err := strconv.ParseFloat(os.Getenv("WRONG"), 64); err == nil && rand.Float64() < share {
			status = "5xx"
			http.Error(w, "wrong", 500)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/broken") && os.Getenv("BROKEN") != "" {
			http.Error(w, "broken", 500)
			return
		}
		fmt.Fprintf(w, "%s %s %s", release, os.Getenv("GREETING"), r.URL.Path)
	})
	server := &http.Server{Addr: ":8080"}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		limited, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		server.Shutdown(limited)
		os.Exit(0)
	}()
	server.ListenAndServe()
	select {}
}
