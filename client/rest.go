package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// apiVersion is what the service client asks for; it is the one most SDKs send.
const apiVersion = "2021-04-12"

// How often, and how patiently, a request is repeated that the server was too
// busy for. Nothing else is repeated: only the caller knows whether that is safe.
const (
	maxAttempts = 4
	maxPause    = 10 * time.Second
)

// rest is one HTTPS server.
type rest struct {
	base   string // https://host:port
	http   *http.Client
	agent  string
	header func(h http.Header) error // adds the authorization
}

func newREST(host string, o *Options) *rest {
	port := o.HTTPSPort
	name, p := splitHost(host)
	if port == 0 {
		port = p
	}
	if port == 0 {
		port = DefaultHTTPSPort
	}
	dial := o.dial
	if o.Address != "" { // connect there, but ask for the host
		addr := o.address(name, port, port)
		dial = func(ctx context.Context, network, _ string) (net.Conn, error) { return o.dial(ctx, network, addr) }
	}
	base := "https://" + name
	if port != DefaultHTTPSPort {
		base = "https://" + net.JoinHostPort(name, strconv.Itoa(port))
	}
	return &rest{
		base:  base,
		agent: o.product(),
		http: &http.Client{Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: o.tls(name), ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: DialTimeout, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second,
			Proxy: http.ProxyFromEnvironment,
		}},
	}
}

func (r *rest) close() { r.http.CloseIdleConnections() }

// request is one call. body is JSON unless raw is set.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any
	raw    []byte
	header http.Header
	op     string
}

// do sends a request and reads the JSON reply into out, unless that is nil.
func (r *rest) do(ctx context.Context, q request, out any) (http.Header, error) {
	var payload []byte
	switch {
	case q.raw != nil:
		payload = q.raw
	case q.body != nil:
		b, err := json.Marshal(q.body)
		if err != nil {
			return nil, fmt.Errorf("%s: encode request: %w", q.op, err)
		}
		payload = b
	}
	for attempt := 1; ; attempt++ {
		header, body, err := r.once(ctx, q, payload)
		if err == nil {
			if out == nil || len(body) == 0 {
				return header, nil
			}
			if err := json.Unmarshal(body, out); err != nil {
				return nil, fmt.Errorf("%s: read reply: %w", q.op, err)
			}
			return header, nil
		}
		pause, again := busy(err, attempt, header)
		if !again {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func (r *rest) once(ctx context.Context, q request, payload []byte) (http.Header, []byte, error) {
	resp, err := r.send(ctx, q, payload)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxReply+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: read reply: %w", q.op, err)
	}
	if len(body) > MaxReply {
		return nil, nil, fmt.Errorf("%s: the reply is larger than %d bytes", q.op, MaxReply)
	}
	if resp.StatusCode >= 300 {
		return resp.Header, nil, decodeError(q.op, resp.StatusCode, resp.Header, body)
	}
	return resp.Header, body, nil
}

func (r *rest) send(ctx context.Context, q request, payload []byte) (*http.Response, error) {
	u := r.base + q.path
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u, bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.op, err)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", r.agent)
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if err := r.header(req.Header); err != nil {
		return nil, fmt.Errorf("%s: %w", q.op, err)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.op, err)
	}
	return resp, nil
}

// busy says whether err means "later", and how much later.
func busy(err error, attempt int, h http.Header) (time.Duration, bool) {
	e, ok := errors.AsType[*causeway.Error](err)
	if !ok || attempt >= maxAttempts {
		return 0, false
	}
	if s := e.Code.HTTPStatus(); s != http.StatusTooManyRequests && s != http.StatusServiceUnavailable {
		return 0, false
	}
	pause := time.Duration(1<<attempt) * 50 * time.Millisecond
	pause += rand.N(pause)
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n >= 0 {
		if pause = time.Duration(min(n, 1<<20)) * time.Second; pause > maxPause {
			return 0, false // to try again before that is of no use
		}
	}
	return min(pause, maxPause), true
}

// decodeError makes an error of an unsuccessful reply. The code comes, in this
// order, from the header iothub-errorcode, a number in the body ("errorCode"),
// a name in the body ("ErrorCode:…;"), or the status alone.
func decodeError(op string, status int, h http.Header, body []byte) error {
	e := &causeway.Error{Code: causeway.Code(status * 1000), Op: op}
	var form struct {
		Message string
		// The forms of other replies: problem details and nested objects.
		Title, Detail string
		Code          json.RawMessage
		ErrorCode     json.RawMessage
		Errors        []struct{ Message, Location string } // what is wrong with a request, and where
	}
	if json.Unmarshal(body, &form) == nil {
		e.Msg = cmpFirst(form.Message, form.Detail, form.Title)
		for i, x := range form.Errors {
			if i == 0 {
				e.Msg += ": "
			} else {
				e.Msg += "; "
			}
			e.Msg += strings.TrimPrefix(x.Location, "body.") + ": " + x.Message
		}
		var nested struct {
			ErrorCode causeway.Code
			Message   string
		}
		if strings.HasPrefix(form.Message, "{") && json.Unmarshal([]byte(form.Message), &nested) == nil {
			e.Msg = nested.Message
			if nested.ErrorCode.HTTPStatus() == status {
				e.Code = nested.ErrorCode
			}
		}
		if rest, ok := strings.CutPrefix(e.Msg, "ErrorCode:"); ok {
			name, text, _ := strings.Cut(rest, ";")
			e.Msg = text
			e.Code = codeByName(status, name, e.Code)
		}
		e.Code = codeByName(status, form.Title, e.Code)
		for _, raw := range []json.RawMessage{form.Code, form.ErrorCode} {
			var name string
			var n causeway.Code
			if json.Unmarshal(raw, &name) == nil {
				e.Code = codeByName(status, name, e.Code)
			} else if json.Unmarshal(raw, &n) == nil && n.HTTPStatus() == status {
				e.Code = n
			}
		}
	} else if t := strings.TrimSpace(string(body)); t != "" && len(t) < 500 && !strings.HasPrefix(t, "<") {
		e.Msg = t
	}
	e.Code = codeByName(status, h.Get("iothub-errorcode"), e.Code)
	if e.Msg == "" {
		e.Msg = fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
	}
	return e
}

// codeByName finds the code of a status that has a name. The catalogue has
// names for codes only; errors are rare enough for a search.
func codeByName(status int, name string, otherwise causeway.Code) causeway.Code {
	if name == "" {
		return otherwise
	}
	if n, err := strconv.Atoi(name); err == nil && n/1000 == status {
		return causeway.Code(n)
	}
	for c := causeway.Code(status * 1000); c < causeway.Code(status*1000+1000); c++ {
		if c.Name() == name {
			return c
		}
	}
	return otherwise
}

func cmpFirst(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
