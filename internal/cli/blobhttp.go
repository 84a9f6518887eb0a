package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// Bounds of the blob commands.
const (
	signedFor      = time.Hour // what a command gets itself signed
	maxBlobError   = 64 << 10  // of the body of an error
	maxListBody    = 64 << 20  // of a page of a list
	blobVersion    = blobsas.Version
	maxSignedHours = 30 * 24
)

// blobs speaks to the storage of a hub as storage clients do.
type blobs struct {
	admin *client.Admin
	http  *http.Client
	hub   string
	base  string // https://{host}:{port} that is dialled
	host  string // of the hub, as the storage is called
}

// withBlobs runs f with the storage of the hub that a command means.
func (l *login) withBlobs(ctx context.Context, f func(ctx context.Context, b *blobs) error) error {
	name, err := l.localHub(ctx, nil)
	if err != nil {
		return err
	}
	t, err := l.findLocal()
	if err != nil {
		return err
	}
	a, err := t.admin()
	if err != nil {
		return err
	}
	defer a.Close()
	h, err := a.Hub(ctx, name)
	if err != nil {
		return err
	}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: t.options.RootCAs, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if _, port, err := net.SplitHostPort(addr); err == nil && t.options.Address != "" {
				addr = net.JoinHostPort(t.options.Address, port)
			}
			return (&net.Dialer{Timeout: client.DialTimeout}).DialContext(ctx, network, addr)
		},
	}
	defer tr.CloseIdleConnections()
	b := &blobs{admin: a, http: &http.Client{Transport: tr}, hub: h.Name, base: t.local.AdminURL, host: h.Hosts[0]}
	if u, err := url.Parse(b.base); err == nil && u.Port() != "" {
		b.host += ":" + u.Port()
	}
	return f(ctx, b)
}

// request makes a request about a blob, a container or the account.
func (b *blobs) request(ctx context.Context, method string, g client.BlobGrant, query url.Values, body io.Reader, size int64, header map[string]string) (*http.Response, error) {
	g.Seconds = int64(signedFor.Seconds())
	access, err := b.admin.SignBlob(ctx, b.hub, g)
	if err != nil {
		return nil, err
	}
	address := b.base + access.Path + "?" + access.Query
	if q := query.Encode(); q != "" {
		address += "&" + q
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, errors.New("no address can be made for the blob") // the cause has a signature in it
	}
	req.Host = b.host
	req.Header.Set("x-ms-version", blobVersion)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if body != nil {
		req.ContentLength = size
	}
	res, err := b.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the address
		}
		return nil, fmt.Errorf("reach the storage of hub %s: %w", b.hub, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, blobError(res)
}

// blobError turns the answer to a refused request into an error.
func blobError(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxBlobError))
	e := struct{ Code, Message string }{Code: res.Header.Get("x-ms-error-code")}
	_ = xml.Unmarshal(text, &e)
	message, _, _ := strings.Cut(e.Message, "\n")
	code := causeway.GenericServerError
	switch {
	case res.StatusCode == http.StatusNotFound:
		code = causeway.GenericNotFound
	case res.StatusCode == http.StatusConflict:
		code = causeway.GenericConflict
	case res.StatusCode == http.StatusPreconditionFailed:
		code = causeway.GenericPreconditionFailed
	case res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusUnauthorized:
		code = causeway.GenericUnauthorized
	case res.StatusCode < 500:
		code = causeway.GenericBadRequest
	}
	return causeway.Errorf(code, "", "%s: %s", e.Code, message)
}

// listedBlob is a row of a list.
type listedBlob struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Modified string `json:"modified,omitempty"`
	Type     string `json:"contentType,omitempty"`
}

// list calls each with the blobs of a container, or without one with the
// containers.
func (b *blobs) list(ctx context.Context, container, prefix string, each func(listedBlob)) error {
	type item struct {
		Name       string
		Properties struct {
			Length   int64  `xml:"Content-Length"`
			Modified string `xml:"Last-Modified"`
			Type     string `xml:"Content-Type"`
		}
	}
	query := url.Values{"comp": {"list"}, "prefix": {prefix}}
	if container != "" {
		query.Set("restype", "container")
	}
	for {
		res, err := b.request(ctx, http.MethodGet, client.BlobGrant{Container: container, Permissions: "l"}, query, nil, 0, nil)
		if err != nil {
			return err
		}
		var page struct {
			Blobs      []item `xml:"Blobs>Blob"`
			Containers []item `xml:"Containers>Container"`
			NextMarker string
		}
		err = xml.NewDecoder(io.LimitReader(res.Body, maxListBody)).Decode(&page)
		res.Body.Close()
		if err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		for _, i := range append(page.Containers, page.Blobs...) {
			each(listedBlob{i.Name, i.Properties.Length, i.Properties.Modified, i.Properties.Type})
		}
		if page.NextMarker == "" {
			return nil
		}
		query.Set("marker", page.NextMarker)
	}
}

// put stores a blob, and makes its container if there is none.
func (b *blobs) put(ctx context.Context, container, name, contentType string, size int64, open func() (io.ReadCloser, error)) error {
	header := map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": contentType}
	for made := false; ; made = true {
		body, err := open()
		if err != nil {
			return err
		}
		var r io.Reader = body
		if size == 0 {
			r = bytes.NewReader(nil) // or else the length would count as unknown
		}
		res, err := b.request(ctx, http.MethodPut, client.BlobGrant{Container: container, Blob: name, Permissions: "w"}, nil, r, size, header)
		body.Close()
		if err == nil {
			res.Body.Close()
			return nil
		}
		if made || causeway.CodeOf(err) != causeway.GenericNotFound {
			return err
		}
		// An account's address has no path to a container.
		if err := b.create(ctx, container); err != nil {
			return err
		}
	}
}

// create makes a container.
func (b *blobs) create(ctx context.Context, container string) error {
	g := client.BlobGrant{Permissions: "c", Seconds: int64(signedFor.Seconds())}
	access, err := b.admin.SignBlob(ctx, b.hub, g)
	if err != nil {
		return err
	}
	address := b.base + access.Path + "/" + url.PathEscape(container) + "?restype=container&" + access.Query
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, nil)
	if err != nil {
		return errors.New("no address can be made for the container")
	}
	req.Host = b.host
	req.Header.Set("x-ms-version", blobVersion)
	res, err := b.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return fmt.Errorf("reach the storage of hub %s: %w", b.hub, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 && res.StatusCode != http.StatusConflict {
		return blobError(res)
	}
	return nil
}
