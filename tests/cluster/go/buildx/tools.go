//go:build tools

// Package tools keeps what the cluster is built from in go.mod.
package tools

import _ "github.com/docker/buildx/cmd/buildx"
