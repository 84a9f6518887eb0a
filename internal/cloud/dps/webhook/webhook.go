// Package webhook asks webhooks that users name to which hub a device goes. What is
// behind their addresses is not trusted: calls lead only where they may, take a
// bounded time, follow no redirect, and read no more than was asked for.
package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/plugin"
)

// Bounds of a call.
const (
	Timeout        = 10 * time.Second // for all of it
	handshake      = 5 * time.Second
	idle           = time.Minute
	maxIdle        = 16
	maxHeaderBytes = 16 << 10
)

// Caller calls webhooks. It is safe for concurrent use.
type Caller struct {
	client    *http.Client
	transport *http.Transport
}

var _ dps.Caller = (*Caller)(nil)

// New returns a caller whose connections d opens.
func New(d plugin.Dialer) *Caller {
	t := &http.Transport{
		DialContext: d.DialContext, TLSHandshakeTimeout: handshake, MaxIdleConns: maxIdle, IdleConnTimeout: idle,
		MaxResponseHeaderBytes: maxHeaderBytes, ForceAttemptHTTP2: true,
	}
	return &Caller{transport: t, client: &http.Client{
		Transport: t, Timeout: Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close ends idle connections.
func (c *Caller) Close() { c.transport.CloseIdleConnections() }

// Post implements [dps.Caller].
func (c *Caller) Post(ctx context.Context, url string, body []byte, most int) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "causeway-dps")
	res, err := c.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, int64(most)+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	case len(answer) > most:
		return 0, nil, fmt.Errorf("the answer has more than %d bytes", most)
	}
	return res.StatusCode, answer, nil
}
