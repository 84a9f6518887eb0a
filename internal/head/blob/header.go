package blob

import (
	"crypto/md5" //nolint:gosec // the checksum of the Blob service, no defence
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

const (
	metaPrefix  = "X-Ms-Meta-" // as net/http spells received header names
	defaultType = "application/octet-stream"
)

// properties reads what a write says of the blob. whole says that the body is
// the blob itself, whose own Content-… headers count too.
func properties(h http.Header, whole bool) (p port.Properties, err error) {
	get := func(name, plain string) string {
		if v := h.Get("x-ms-blob-" + name); v != "" || !whole {
			return v
		}
		return h.Get(plain)
	}
	p = port.Properties{
		ContentType:        get("content-type", "Content-Type"),
		ContentEncoding:    get("content-encoding", "Content-Encoding"),
		ContentLanguage:    get("content-language", "Content-Language"),
		ContentDisposition: h.Get("x-ms-blob-content-disposition"),
		CacheControl:       get("cache-control", "Cache-Control"),
	}
	if p.ContentType == "" {
		p.ContentType = defaultType
	}
	if p.MD5, err = sumHeader(h, "x-ms-blob-content-md5"); err != nil {
		return p, err
	}
	p.Metadata, err = metadata(h)
	return p, err
}

// metadata reads the headers x-ms-meta-…, whose names have no case.
func metadata(h http.Header) (map[string]string, error) {
	var m map[string]string
	for name, values := range h {
		key, ok := strings.CutPrefix(name, metaPrefix)
		if !ok {
			continue
		}
		if key = strings.ToLower(key); key == "" {
			return nil, fail(emptyMetadataKey, "a header x-ms-meta- has no name after it")
		}
		value := strings.Join(values, ",")
		for i := range len(value) {
			if value[i] < 0x20 || value[i] > 0x7e {
				return nil, fail(invalidMetadata, "the metadata %q has characters that are not ASCII; encode them", clip(key))
			}
		}
		if m == nil {
			m = map[string]string{}
		}
		m[key] = value
	}
	return m, nil
}

// sumHeader reads a header with an MD5, nil without one.
func sumHeader(h http.Header, name string) ([]byte, error) {
	v := h.Get(name)
	if v == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) != md5.Size {
		return nil, fail(invalidMD5, "%s is not the base64 of %d bytes", name, md5.Size)
	}
	return b, nil
}

// describe writes the headers of a blob.
func (c *call) describe(a port.Attrs) {
	head := c.w.Header()
	set := func(name, value string) {
		if value != "" {
			head[name] = []string{value}
		}
	}
	set("Content-Type", orElse(a.ContentType, defaultType))
	set("Content-Encoding", a.ContentEncoding)
	set("Content-Language", a.ContentLanguage)
	set("Content-Disposition", a.ContentDisposition)
	head.Del("Cache-Control")
	set("Cache-Control", a.CacheControl)
	set("ETag", quote(a.ETag))
	set("Last-Modified", a.Modified.UTC().Format(http.TimeFormat))
	set("Accept-Ranges", "bytes")
	set("x-ms-creation-time", a.Created.UTC().Format(http.TimeFormat))
	set("x-ms-blob-type", a.Kind.String())
	set("x-ms-lease-status", "unlocked")
	set("x-ms-lease-state", "available")
	set("x-ms-server-encrypted", "false")
	if a.Kind == port.Append {
		set("x-ms-blob-committed-block-count", strconv.Itoa(a.Parts))
	}
	for k, v := range a.Metadata {
		set("x-ms-meta-"+k, v)
	}
	c.override(c.token.Override)
}

// override sets what the token says that the answer shall have.
func (c *call) override(o blobsas.Override) {
	head := c.w.Header()
	for name, value := range map[string]string{
		"Cache-Control": o.CacheControl, "Content-Disposition": o.ContentDisposition, "Content-Encoding": o.ContentEncoding,
		"Content-Language": o.ContentLanguage, "Content-Type": o.ContentType,
	} {
		if value != "" {
			head[name] = []string{value}
		}
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// conditions are the conditional headers of a request (RFC 9110 §13).
type conditions struct {
	match, noneMatch         string
	modified, unmodified     time.Time
	hasModified, hasUnmodify bool
}

func readConditions(h http.Header) (k conditions, err error) {
	k.match, k.noneMatch = h.Get("If-Match"), h.Get("If-None-Match")
	date := func(name string) (t time.Time, ok bool, err error) {
		v := h.Get(name)
		if v == "" {
			return t, false, nil
		}
		if t, err = http.ParseTime(v); err != nil {
			return t, false, fail(invalidHeader, "%s is not a date of HTTP", name)
		}
		return t, true, nil
	}
	if k.modified, k.hasModified, err = date("If-Modified-Since"); err != nil {
		return k, err
	}
	k.unmodified, k.hasUnmodify, err = date("If-Unmodified-Since")
	return k, err
}

// matches reports whether an etag is in a list of a header.
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || strings.Trim(tag, `"`) == etag {
			return true
		}
	}
	return false
}

// check is what a write needs. Times count in seconds, as the header has them.
func (k conditions) check(now *port.Attrs) error {
	if now == nil {
		if k.match != "" {
			return fail(conditionNotMet, "If-Match: the blob does not exist")
		}
		return nil
	}
	at := now.Modified.Truncate(time.Second)
	switch {
	case k.match != "" && !matches(k.match, now.ETag):
		return fail(conditionNotMet, "If-Match: the blob has another etag")
	case strings.TrimSpace(k.noneMatch) == "*":
		return fail(blobExists, "the blob exists already")
	case k.noneMatch != "" && matches(k.noneMatch, now.ETag):
		return fail(conditionNotMet, "If-None-Match: the blob has that etag")
	case k.hasModified && !at.After(k.modified):
		return fail(conditionNotMet, "If-Modified-Since: the blob was not modified since")
	case k.hasUnmodify && at.After(k.unmodified):
		return fail(conditionNotMet, "If-Unmodified-Since: the blob was modified since")
	}
	return nil
}

// notModified is what a read that finds nothing new is answered.
var notModified = code{"ConditionNotMet", http.StatusNotModified}

// read is what a read needs.
func (k conditions) read(now port.Attrs) error {
	at := now.Modified.Truncate(time.Second)
	if k.noneMatch != "" && matches(k.noneMatch, now.ETag) || k.noneMatch == "" && k.hasModified && !at.After(k.modified) {
		return fail(notModified, "the blob is as it was")
	}
	k.noneMatch, k.hasModified = "", false
	return k.check(&now)
}
