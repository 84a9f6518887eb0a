package blob

import (
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"

	port "github.com/causeway-iot/causeway/internal/core/blob"
)

// putBlob stores a blob as a whole, or makes an append blob without bytes.
func (h *handler) putBlob(c *call) error {
	o := port.Options{Limit: MaxPutBlob}
	switch t := c.r.Header.Get("x-ms-blob-type"); {
	case t == "":
		return fail(missingHeader, "the header x-ms-blob-type is missing: BlockBlob or AppendBlob")
	case strings.EqualFold(t, "AppendBlob"):
		o.Kind = port.Append
	case !strings.EqualFold(t, "BlockBlob"):
		return fail(invalidHeader, "x-ms-blob-type is %q, only BlockBlob and AppendBlob are supported", clip(t))
	}
	most := int64(MaxPutBlob)
	if o.Kind == port.Append {
		most = 0 // its bytes come by appending
	}
	if _, err := c.length(most); err != nil {
		return err
	}
	var err error
	if o.Properties, err = properties(c.r.Header, true); err != nil {
		return err
	}
	if o.Kind == port.Block {
		if o.Sum, err = c.sum("Content-MD5", "x-ms-blob-content-md5"); err != nil {
			return err
		}
	}
	if o.Check, err = c.writeCheck(); err != nil {
		return err
	}
	body, err := h.body(c)
	if err != nil {
		return err
	}
	a, err := c.bucket.Put(c.r.Context(), c.blob, body, o)
	if err != nil {
		return err
	}
	if a.MD5 != nil {
		c.w.Header()["Content-MD5"] = []string{base64.StdEncoding.EncodeToString(a.MD5)}
	}
	return c.created(a, http.StatusCreated)
}

// writeCheck returns the check of a write.
func (c *call) writeCheck() (port.Check, error) {
	k, err := readConditions(c.r.Header)
	if err != nil {
		return nil, err
	}
	return c.mayReplace(k.check), nil
}

// putBlock stages a block.
func (h *handler) putBlock(c *call) error {
	id := blockID(c.r.URL.RawQuery)
	if id == "" {
		return fail(missingQuery, "the query parameter blockid is missing")
	}
	if err := port.CheckBlockID(id); err != nil {
		return fail(invalidBlockID, "%v", err)
	}
	n, err := c.length(MaxBlock)
	if err != nil {
		return err
	}
	if n == 0 {
		return fail(invalidHeader, "Content-Length is 0: a block has at least one byte")
	}
	sum, err := c.sum("Content-MD5")
	if err != nil {
		return err
	}
	body, err := h.body(c)
	if err != nil {
		return err
	}
	if err := c.bucket.Stage(c.r.Context(), c.blob, id, body, sum); err != nil {
		return err
	}
	head := c.w.Header()
	head["x-ms-request-server-encrypted"] = []string{"false"}
	for _, name := range []string{"Content-MD5", "x-ms-content-crc64"} {
		if v := c.r.Header.Get(name); v != "" {
			head[name] = []string{v} // it was checked
		}
	}
	c.reply(http.StatusCreated)
	return nil
}

// putBlockList makes a blob of blocks.
func (h *handler) putBlockList(c *call) error {
	n, err := c.length(MaxBlockList)
	if err != nil {
		return err
	}
	release, err := h.memory(c, n)
	if err != nil {
		return err
	}
	defer release()
	body, err := h.body(c)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if err := c.checkSum(text); err != nil {
		return err
	}
	list, err := readBlockList(text)
	if err != nil {
		return err
	}
	o := port.Options{}
	if o.Properties, err = properties(c.r.Header, false); err != nil {
		return err
	}
	if o.Check, err = c.writeCheck(); err != nil {
		return err
	}
	a, err := c.bucket.Commit(c.r.Context(), c.blob, list, o)
	if err != nil {
		return err
	}
	return c.created(a, http.StatusCreated)
}

// appendBlock adds to an append blob.
func (h *handler) appendBlock(c *call) error {
	n, err := c.length(MaxAppendBlock)
	if err != nil {
		return err
	}
	if n == 0 {
		return fail(invalidHeader, "Content-Length is 0: an append has at least one byte")
	}
	at, err := number(c.r.Header, "x-ms-blob-condition-appendpos", -1)
	if err != nil {
		return err
	}
	most, err := number(c.r.Header, "x-ms-blob-condition-maxsize", -1)
	if err != nil {
		return err
	}
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	release, err := h.memory(c, n)
	if err != nil {
		return err
	}
	defer release()
	body, err := h.body(c)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if err := c.checkSum(data); err != nil {
		return err
	}
	a, err := c.bucket.Append(c.r.Context(), c.blob, data, at, func(now *port.Attrs) error {
		if most >= 0 && now != nil && now.Size+int64(len(data)) > most {
			return fail(maxBlobSize, "the blob would become larger than %d bytes", most)
		}
		return k.check(now)
	})
	if err != nil {
		return err
	}
	head := c.w.Header()
	head["x-ms-blob-append-offset"] = []string{strconv.FormatInt(a.Size-int64(len(data)), 10)}
	head["x-ms-blob-committed-block-count"] = []string{strconv.Itoa(a.Parts)}
	for _, name := range []string{"Content-MD5", "x-ms-content-crc64"} {
		if v := c.r.Header.Get(name); v != "" {
			head[name] = []string{v}
		}
	}
	return c.created(a, http.StatusCreated)
}

// number reads a header that is a number from 0 on.
func number(h http.Header, name string, otherwise int64) (int64, error) {
	v := h.Get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, fail(invalidHeader, "%s is %q, not a number from 0 on", name, clip(v))
	}
	return n, nil
}

// setMetadata replaces the metadata of a blob.
func (h *handler) setMetadata(c *call) error {
	m, err := metadata(c.r.Header)
	if err != nil {
		return err
	}
	return c.set(func(p *port.Properties) { p.Metadata = m })
}

// setProperties replaces the content properties of a blob.
func (h *handler) setProperties(c *call) error {
	n, err := properties(c.r.Header, false)
	if err != nil {
		return err
	}
	return c.set(func(p *port.Properties) {
		n.Metadata = p.Metadata
		*p = n
	})
}

func (c *call) set(change func(*port.Properties)) error {
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	a, err := c.bucket.Set(c.r.Context(), c.blob, change, k.check)
	if err != nil {
		return err
	}
	return c.created(a, http.StatusOK)
}

// deleteBlob ends a blob.
func (h *handler) deleteBlob(c *call) error {
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	if err := c.bucket.Delete(c.r.Context(), c.blob, k.check); err != nil {
		return err
	}
	c.w.Header()["x-ms-delete-type-permanent"] = []string{"true"}
	c.reply(http.StatusAccepted)
	return nil
}
