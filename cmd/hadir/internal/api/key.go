package api

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// NewKey gives an idempotency key: a version 4 UUID. It need not be secret.
func NewKey() string {
	a, b := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&(1<<48-1))
}

// poolTimeout bounds a request; a decision takes a few seconds at most.
const poolTimeout = 10 * time.Second

// Pool gives an HTTP client that keeps so many connections to each node.
func Pool(connections int) *http.Client {
	return &http.Client{Timeout: poolTimeout, Transport: &http.Transport{
		MaxIdleConnsPerHost: connections, IdleConnTimeout: 30 * time.Second,
	}}
}
