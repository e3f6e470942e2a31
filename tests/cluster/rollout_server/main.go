// A server for the tests of rollouts: says which release answers, and fails in the ways that the tests ask for.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

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
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("HEALTHY") == "no" {
			http.Error(w, "not well", 500)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", release)
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
