// Package webhook is the sink that posts messages over HTTP: as plain JSON, as
// CloudEvents 1.0, or as Event Grid events, after the handshake with which each of
// the latter has a receiver say that it wants them.
//
// Bodies may be signed as Standard Webhooks does, so that a receiver knows who
// they are from. Redirects are not followed: where messages go is what an
// operator wrote down.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/plugin"
)

// Sink posts to one URL. Use New.
type Sink struct {
	c      Config
	env    plugin.Env
	client *http.Client

	agreeing sync.Mutex // held during the handshake
	agreed   bool
	pause    time.Duration // between requests, as the receiver asked
	next     time.Time     // when one may be made
}

var _ plugin.Batcher = (*Sink)(nil)

// Limits of replies.
const (
	maxReply   = 64 << 10 // bytes that are read of one
	maxShown   = 256      // bytes that an error shows
	maxHeaders = 64
)

// New returns a sink.
func New(c Config, env plugin.Env) (plugin.Sink, error) {
	tc, err := c.tls()
	if err != nil {
		return nil, err
	}
	return &Sink{c: c, env: env, client: &http.Client{
		Transport: &http.Transport{
			DialContext: env.Dial, TLSClientConfig: tc, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 32,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Batch returns the most messages of one request.
func (s *Sink) Batch() int { return s.c.Batch }

// Close gives up idle connections.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Send posts a batch, in as many requests as its size takes.
func (s *Sink) Send(ctx context.Context, batch []causeway.Message) error {
	if err := s.agree(ctx); err != nil {
		return err
	}
	for sent := 0; sent < len(batch); {
		body, n, err := s.encode(batch[sent:])
		if err != nil {
			return plugin.RefusedAt(sent, err)
		}
		if err := s.turn(ctx); err != nil {
			return plugin.Partly(sent, err)
		}
		if err := s.post(ctx, body, n, s.eventHeaders(batch[sent:sent+n])); err != nil {
			f := plugin.FailureOf(err)
			f.Sent = sent
			f.Exact = f.Permanent && n == 1
			return &f
		}
		sent += n
	}
	return nil
}

// turn waits until the receiver wants the next request.
func (s *Sink) turn(ctx context.Context) error {
	s.agreeing.Lock()
	at, now := s.next, time.Now()
	if s.pause > 0 {
		if at.Before(now) {
			at = now
		}
		s.next = at.Add(s.pause)
	}
	s.agreeing.Unlock()
	if !at.After(now) {
		return nil
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post posts a body of n messages. A failure is a *plugin.SendError when the
// receiver answered.
func (s *Sink) post(ctx context.Context, body []byte, n int, header http.Header) error {
	_, err := s.exchange(ctx, http.MethodPost, body, header)
	if failed, ok := errors.AsType[*statusError](err); ok {
		return failed.failure(n)
	}
	return err
}

// reply is what a receiver answered.
type reply struct {
	header http.Header
	body   []byte
}

// exchange makes a request and reads the reply.
func (s *Sink) exchange(ctx context.Context, method string, body []byte, header http.Header) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.c.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for k, v := range s.c.Headers {
		req.Header.Set(k, v)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	s.authorize(req, body)
	res, err := s.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address, which may have a key in it
		}
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // nothing is lost
	text, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, &statusError{res.StatusCode, retryAfter(res.Header.Get("Retry-After"), time.Now()), printable(text), res.Header.Get("Location")}
	}
	return &reply{res.Header, text}, nil
}

// statusError is a reply that is no success.
type statusError struct {
	status   int
	after    time.Duration
	text     string
	location string
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the receiver answered %d %s", e.status, http.StatusText(e.status))
	if e.status/100 == 3 && e.location != "" {
		return s + ": redirects are not followed, set the url to " + strconv.Quote(e.location) + " if that is meant"
	}
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// failure says what may be done about it. What is wrong with the receiver, or
// with what it knows of us, may be mended while messages wait; what is wrong with
// a message stays.
func (e *statusError) failure(n int) error {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusConflict, http.StatusMisdirectedRequest, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return plugin.Busy(e.after, e)
	}
	if e.status/100 == 4 {
		if n == 1 {
			return plugin.RefusedAt(0, e)
		}
		return plugin.Refused(e)
	}
	return plugin.Busy(e.after, e)
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return time.Duration(min(n, 24*3600)) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// printable returns the beginning of a text for people.
func printable(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b[:min(len(b), maxShown)]), ""))
	return strings.TrimSpace(s)
}
