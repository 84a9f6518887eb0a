package blob

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the checksum of the Blob service, no defence
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	port "github.com/causeway-iot/causeway/internal/core/blob"
)

// headBlob describes a blob.
func (h *handler) headBlob(c *call) error {
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	a, err := c.bucket.Head(c.r.Context(), c.blob)
	if err != nil {
		return err
	}
	if err := k.read(a); err != nil {
		return err
	}
	c.describe(a)
	if c.op.method == http.MethodGet { // of metadata, without the content
		c.reply(http.StatusOK)
		return nil
	}
	if a.MD5 != nil {
		c.w.Header()["Content-MD5"] = []string{base64.StdEncoding.EncodeToString(a.MD5)}
	}
	c.w.Header().Set("Content-Length", strconv.FormatInt(a.Size, 10))
	c.status = http.StatusOK
	c.w.WriteHeader(c.status)
	return nil
}

// getBlob sends a blob or a range of it.
func (h *handler) getBlob(c *call) error {
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	off, n, ranged := readRange(c.r.Header)
	withSum := strings.EqualFold(c.r.Header.Get("x-ms-range-get-content-md5"), "true")
	if withSum && (!ranged || n < 0 || n > MaxRangeSum) {
		return fail(outOfRangeQuery, "x-ms-range-get-content-md5 needs a range of at most %d bytes", MaxRangeSum)
	}
	r, a, err := c.bucket.Get(c.r.Context(), c.blob, off, n)
	if errors.Is(err, port.ErrRange) {
		return c.outOfRange(a)
	}
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it was read, or not wanted
	if err := k.read(a); err != nil {
		return err
	}
	if ranged && a.Size == 0 {
		return c.outOfRange(a)
	}
	c.describe(a)
	head := c.w.Header()
	if !ranged {
		if a.MD5 != nil {
			head["Content-MD5"] = []string{base64.StdEncoding.EncodeToString(a.MD5)}
		}
		head.Set("Content-Length", strconv.FormatInt(a.Size, 10))
		return h.deliver(c, http.StatusOK, r)
	}
	if n < 0 || n > a.Size-off {
		n = a.Size - off
	}
	if a.MD5 != nil {
		head["x-ms-blob-content-md5"] = []string{base64.StdEncoding.EncodeToString(a.MD5)}
	}
	head.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, a.Size))
	head.Set("Content-Length", strconv.FormatInt(n, 10))
	if !withSum {
		return h.deliver(c, http.StatusPartialContent, r)
	}
	release, err := h.memory(c, n)
	if err != nil {
		return err
	}
	defer release()
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	sum := md5.Sum(b) //nolint:gosec // see the import
	head["Content-MD5"] = []string{base64.StdEncoding.EncodeToString(sum[:])}
	return h.deliver(c, http.StatusPartialContent, bytes.NewReader(b))
}

func (c *call) outOfRange(a port.Attrs) error {
	err := fail(invalidRange, "the range begins behind the end of the blob, which has %d bytes", a.Size)
	c.w.Header()["Content-Range"] = []string{"bytes */" + strconv.FormatInt(a.Size, 10)}
	return err
}

// readRange reads the range of a request: a first byte, and a last one or none.
// Ranges of another form are ignored, as HTTP has it.
func readRange(h http.Header) (off, n int64, ok bool) {
	v := h.Get("x-ms-range")
	if v == "" {
		v = h.Get("Range")
	}
	spec, ok := strings.CutPrefix(v, "bytes=")
	if !ok {
		return 0, -1, false
	}
	first, last, ok := strings.Cut(spec, "-")
	off, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil || off < 0 {
		return 0, -1, false
	}
	if last == "" {
		return off, -1, true
	}
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil || end < off || end-off == 1<<63-1 {
		return 0, -1, false
	}
	return off, end - off + 1, true
}
