package client

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// httpsCourier asks over HTTPS, on a connection of its own, for a few requests.
type httpsCourier struct {
	p    *provisioning
	rest *rest
	path string
}

var _ courier = (*httpsCourier)(nil)

func newHTTPSCourier(p *provisioning) *httpsCourier {
	c := &httpsCourier{
		p: p, rest: newREST(p.o.Endpoint, &p.o.Options),
		path: "/" + url.PathEscape(p.o.IDScope) + "/registrations/" + url.PathEscape(p.o.RegistrationID),
	}
	c.rest.header = func(h http.Header) error {
		h.Set("Content-Type", "application/json; charset=utf-8")
		if token := p.token(); token != "" {
			h.Set("Authorization", token)
		}
		return nil
	}
	if t, ok := c.rest.http.Transport.(*http.Transport); ok {
		t.ForceAttemptHTTP2 = false // its streams are of no use here, and cost memory
		t.MaxIdleConnsPerHost = 1
		t.TLSClientConfig.ClientSessionCache = nil // nothing is resumed
		if p.key == nil {
			t.TLSClientConfig.Certificates = []tls.Certificate{*p.o.Certificate}
		}
	}
	return c
}

func (c *httpsCourier) ask(ctx context.Context, operation string) (reply []byte, after time.Duration, err error) {
	q := request{
		method: http.MethodPut, path: c.path + "/register", raw: c.p.body, op: asking(operation),
		query: url.Values{"api-version": {c.p.version}},
	}
	if operation != "" {
		q.method, q.path, q.raw = http.MethodGet, c.path+"/operations/"+url.PathEscape(operation), nil
	}
	header, reply, err := c.rest.once(ctx, q, q.raw)
	return reply, retryAfter(header), err
}

func (c *httpsCourier) close() { c.rest.close() }

// retryAfter returns what a service asks for, 0 for nothing.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 1 {
		return 0
	}
	return min(time.Duration(min(n, 1<<20))*time.Second, maxRetryAfter)
}
