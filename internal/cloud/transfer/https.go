package transfer

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// Bounds of requests to containers.
const (
	requestTimeout = 2 * time.Minute // to write a block or a list of them, and to begin to read
	stallTimeout   = time.Minute     // without a byte of a blob that is read
	maxErrorBody   = 64 << 10

	// storageVersion is the version of the Blob service that is spoken: the
	// first with large blocks.
	storageVersion = "2019-12-12"
)

// HTTPS opens containers of the Azure Blob service, and of whatever speaks like
// it, by addresses with a shared access signature.
type HTTPS struct {
	// Client makes the requests. It must not follow redirects: an address
	// stands for what its owner may use, and for nothing else.
	Client *http.Client
}

var _ Containers = HTTPS{}

// Open implements [Containers].
func (h HTTPS) Open(uri causeway.Secret) (Container, error) {
	const op = "transfer.Open"
	refuse := func(why string) error {
		return causeway.Errorf(causeway.BlobContainerValidationError, op, "the address of the container %s: give https://{account}/{container}?{shared access signature}", why)
	}
	u, err := url.Parse(string(uri))
	switch {
	case err != nil:
		return nil, refuse("cannot be read")
	case u.Scheme != "https" || u.Host == "":
		return nil, refuse("does not begin with https:// and a host")
	case u.User != nil || u.Fragment != "":
		return nil, refuse("has a user or a fragment")
	case strings.Trim(u.Path, "/") == "":
		return nil, refuse("names no container")
	case !u.Query().Has("sig"):
		return nil, refuse("has no signature (sig)")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return &httpsContainer{client: h.Client, base: u}, nil
}

type httpsContainer struct {
	client *http.Client
	base   *url.URL
}

// request makes a request about a blob. Its address is never in an error: it
// holds a signature.
func (c *httpsContainer) request(ctx context.Context, method, name string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	u := *c.base
	u.Path += "/" + name
	q := u.Query()
	for k, v := range query {
		q[k] = v
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, causeway.Errorf(causeway.BlobContainerValidationError, "transfer.request", "no address can be made for the blob %.80q", name)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("x-ms-version", storageVersion)
	resp, err := c.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, &causeway.Error{
			Code: causeway.ServiceUnavailable, Op: "transfer.request", Err: err,
			Msg: "the container at " + c.base.Host + " cannot be reached",
		}
	}
	return resp, nil
}

// answer turns an answer that is not good into an error, and closes it. What the
// client can mend has a code below 500, the rest may pass.
func (c *httpsContainer) answer(resp *http.Response, name string, good int) error {
	if resp.StatusCode == good {
		return nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var fault struct{ Code string }
	if xml.Unmarshal(text, &fault) != nil || fault.Code == "" {
		fault.Code = resp.Header.Get("x-ms-error-code")
	}
	code := causeway.ServiceUnavailable
	switch s := resp.StatusCode; {
	case s == http.StatusPreconditionFailed:
		return causeway.Errorf(causeway.PreconditionFailed, "transfer.request", "the blob %.80q was changed while it was being read", name)
	case s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500:
	case s == http.StatusNotFound:
		code = causeway.InvalidStorageEndpointOrBlob
	default:
		code = causeway.InvalidStorageEndpoint
	}
	return causeway.Errorf(code, "transfer.request", "the container at %s answered %d %.80s to a request for the blob %.80q", c.base.Host, resp.StatusCode, fault.Code, name)
}

// Read implements [Container].
func (c *httpsContainer) Read(ctx context.Context, name string, off int64, etag string) (Object, error) {
	header := http.Header{}
	good := http.StatusOK
	if off > 0 {
		header.Set("x-ms-range", "bytes="+strconv.FormatInt(off, 10)+"-")
		header.Set("Range", header.Get("x-ms-range"))
		good = http.StatusPartialContent
	}
	if etag != "" {
		header.Set("If-Match", etag)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(requestTimeout, func() { cancel(errStalled) })
	resp, err := c.request(ctx, http.MethodGet, name, nil, nil, header)
	if err == nil && off > 0 && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		// Everything was read before: the end of a blob is not a range.
		resp.Body.Close()
		watch.Stop()
		cancel(nil)
		return Object{ReadCloser: io.NopCloser(strings.NewReader("")), Size: off, ETag: etag}, nil
	}
	if err == nil {
		err = c.answer(resp, name, good)
	}
	if err != nil {
		watch.Stop()
		cancel(nil)
		return Object{}, err
	}
	size := resp.ContentLength
	if size >= 0 {
		size += off
	}
	return Object{
		ReadCloser: &watched{ReadCloser: resp.Body, left: resp.ContentLength, watch: watch, cancel: func() { cancel(nil) }},
		Size:       size, ETag: resp.Header.Get("ETag"),
	}, nil
}

var errStalled = errors.New("nothing has come for too long")

// watched is a body that must not stop coming, and must not end early.
type watched struct {
	io.ReadCloser
	left   int64 // bytes to come; negative when that is not known
	watch  *time.Timer
	cancel func()
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.watch.Reset(stallTimeout)
	n, err := w.ReadCloser.Read(p)
	w.watch.Stop() // what is done with it takes its own time
	if w.left >= 0 {
		if w.left -= int64(n); errors.Is(err, io.EOF) && w.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	w.watch.Stop()
	w.cancel()
	return w.ReadCloser.Close()
}

// put makes a request that writes.
func (c *httpsContainer) put(ctx context.Context, name string, query url.Values, body []byte, header http.Header) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.request(ctx, http.MethodPut, name, query, body, header)
	if err != nil {
		return err
	}
	if err := c.answer(resp, name, http.StatusCreated); err != nil {
		return err
	}
	return resp.Body.Close()
}

// Stage implements [Container].
func (c *httpsContainer) Stage(ctx context.Context, name, id string, data []byte) error {
	return c.put(ctx, name, url.Values{"comp": {"block"}, "blockid": {encodeID(id)}}, data, nil)
}

// Commit implements [Container].
func (c *httpsContainer) Commit(ctx context.Context, name string, ids []string) error {
	var list bytes.Buffer
	list.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for _, id := range ids {
		fmt.Fprintf(&list, "<Latest>%s</Latest>", encodeID(id))
	}
	list.WriteString("</BlockList>")
	return c.put(ctx, name, url.Values{"comp": {"blocklist"}}, list.Bytes(), http.Header{
		"Content-Type": {"application/xml"}, "X-Ms-Blob-Content-Type": {"text/plain; charset=utf-8"},
	})
}

// encodeID returns an id of a block as the Blob service wants it.
func encodeID(id string) string { return base64.StdEncoding.EncodeToString([]byte(id)) }
