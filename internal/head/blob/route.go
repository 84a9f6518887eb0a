package blob

import (
	"net/http"
	"net/url"
	"strings"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// level is what an address names.
type level uint8

const (
	ofAccount level = iota
	ofContainer
	ofBlob
)

// operation is one operation of the API.
type operation struct {
	name    string
	method  string
	level   level
	restype string
	comp    string
	// permissions are letters of which a token needs one.
	permissions string
	// account says that only a token for the account will do.
	account bool
	handle  func(*handler, *call) error
}

// operations is the whole API.
var operations = []operation{
	{name: "listContainers", method: "GET", level: ofAccount, comp: "list", permissions: "l", account: true, handle: (*handler).listContainers},

	{name: "createContainer", method: "PUT", level: ofContainer, restype: "container", permissions: "cw", account: true, handle: (*handler).createContainer},
	{name: "getContainer", method: "GET", level: ofContainer, restype: "container", permissions: "r", account: true, handle: (*handler).getContainer},
	{name: "headContainer", method: "HEAD", level: ofContainer, restype: "container", permissions: "r", account: true, handle: (*handler).getContainer},
	{name: "deleteContainer", method: "DELETE", level: ofContainer, restype: "container", permissions: "d", account: true, handle: (*handler).deleteContainer},
	{name: "listBlobs", method: "GET", level: ofContainer, restype: "container", comp: "list", permissions: "l", handle: (*handler).listBlobs},

	{name: "putBlob", method: "PUT", level: ofBlob, permissions: "cw", handle: (*handler).putBlob},
	{name: "putBlock", method: "PUT", level: ofBlob, comp: "block", permissions: "cw", handle: (*handler).putBlock},
	{name: "putBlockList", method: "PUT", level: ofBlob, comp: "blocklist", permissions: "cw", handle: (*handler).putBlockList},
	{name: "getBlockList", method: "GET", level: ofBlob, comp: "blocklist", permissions: "r", handle: (*handler).getBlockList},
	{name: "appendBlock", method: "PUT", level: ofBlob, comp: "appendblock", permissions: "aw", handle: (*handler).appendBlock},
	{name: "setBlobMetadata", method: "PUT", level: ofBlob, comp: "metadata", permissions: "w", handle: (*handler).setMetadata},
	{name: "setBlobProperties", method: "PUT", level: ofBlob, comp: "properties", permissions: "w", handle: (*handler).setProperties},
	{name: "getBlob", method: "GET", level: ofBlob, permissions: "r", handle: (*handler).getBlob},
	{name: "headBlob", method: "HEAD", level: ofBlob, permissions: "r", handle: (*handler).headBlob},
	{name: "getBlobMetadata", method: "GET", level: ofBlob, comp: "metadata", permissions: "r", handle: (*handler).headBlob},
	{name: "headBlobMetadata", method: "HEAD", level: ofBlob, comp: "metadata", permissions: "r", handle: (*handler).headBlob},
	{name: "deleteBlob", method: "DELETE", level: ofBlob, permissions: "d", handle: (*handler).deleteBlob},
}

// label names an operation in metrics; nil is everything unknown.
func (o *operation) label() string {
	if o == nil {
		return "unknown"
	}
	return o.name
}

// locate reads the path: the account, or a container, or a blob in one. Any of
// its slashes may come escaped: clients that take the container for an account
// escape the one behind it.
func (c *call) locate() error {
	path, err := url.PathUnescape(strings.TrimPrefix(c.r.URL.EscapedPath(), "/"))
	if err != nil {
		return fail(invalidURI, "the path cannot be read: %v", err)
	}
	if first, rest, _ := strings.Cut(path, "/"); first == blobsas.AccountName {
		path = rest
	}
	c.container, c.blob, _ = strings.Cut(path, "/")
	if c.container == "" && c.blob == "" {
		return nil
	}
	if err := port.CheckContainer(c.container); err != nil {
		return fail(invalidResourceName, "%v", err)
	}
	if c.container == blobsas.AccountName {
		return fail(invalidResourceName, "%q is the name of the account, a container cannot have it", blobsas.AccountName)
	}
	if c.blob != "" {
		if err := port.CheckName(c.blob); err != nil {
			return fail(invalidResourceName, "%v", err)
		}
	}
	return nil
}

// route finds the operation.
func (c *call) route() error {
	q := c.r.URL.Query()
	at := ofBlob
	if c.container == "" {
		at = ofAccount
	} else if c.blob == "" {
		at = ofContainer
	}
	known := false
	for i := range operations {
		o := &operations[i]
		if o.level != at || o.restype != q.Get("restype") || o.comp != q.Get("comp") {
			continue
		}
		if o.method == c.r.Method {
			c.op = o
			return nil
		}
		known = true
	}
	if known {
		return fail(unsupportedVerb, "%s is not a method of this resource", clip(c.r.Method))
	}
	return fail(unsupportedQuery, "there is no operation with comp=%q and restype=%q here", clip(q.Get("comp")), clip(q.Get("restype")))
}

// unsupportedHeaders ask for what is not there. Ignoring them would do
// something else than was asked for.
var unsupportedHeaders = []string{
	"x-ms-copy-source", "x-ms-encryption-key", "x-ms-encryption-scope", "x-ms-tags", "x-ms-if-tags", "x-ms-structured-body",
	"x-ms-immutability-policy-mode", "x-ms-legal-hold", "x-ms-blob-sequence-number",
}

func (c *call) refuseUnsupported() error {
	for _, name := range unsupportedHeaders {
		if v := c.r.Header.Get(name); v != "" && !strings.EqualFold(v, "false") {
			return fail(unsupportedHeader, "%s is not supported", name)
		}
	}
	if c.r.Header.Get("x-ms-lease-id") != "" {
		return fail(leaseNotPresent, "there are no leases")
	}
	for _, name := range []string{"snapshot", "versionid"} {
		if c.r.URL.Query().Get(name) != "" {
			return fail(unsupportedQuery, "%s: there are no snapshots and versions of blobs", name)
		}
	}
	return nil
}

// created reports that an answer is one to a write, which has no content.
func (c *call) created(a port.Attrs, status int) error {
	head := c.w.Header()
	head["ETag"] = []string{quote(a.ETag)}
	head["Last-Modified"] = []string{a.Modified.UTC().Format(http.TimeFormat)}
	head["x-ms-request-server-encrypted"] = []string{"false"}
	c.reply(status)
	return nil
}

func quote(etag string) string { return `"` + etag + `"` }
