package blob

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"net/http"
	"time"

	port "github.com/causeway-iot/causeway/internal/core/blob"
)

// length returns the length of the body, which must be told and not exceed a
// limit.
func (c *call) length(most int64) (int64, error) {
	n := c.r.ContentLength
	switch {
	case n < 0:
		return 0, fail(noContentLength, "the header Content-Length is missing")
	case n > most:
		return 0, fail(bodyTooLarge, "the body has %d bytes, at most %d are allowed", n, most)
	}
	return n, nil
}

// body returns the request body, cut off when the client sends nothing for a
// while, and checked against the CRC-64 that the client may have sent.
func (h *handler) body(c *call) (io.Reader, error) {
	if c.until.IsZero() {
		c.until = time.Now().Add(time.Duration(1+c.r.ContentLength>>20) * perMiB)
	}
	b := &body{r: c.r.Body, control: http.NewResponseController(c.w), count: h.metrics.BytesIn.Add, until: c.until}
	if v := c.r.Header.Get("x-ms-content-crc64"); v != "" {
		want, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(want) != crc64.Size {
			return nil, fail(invalidHeader, "x-ms-content-crc64 is not the base64 of %d bytes", crc64.Size)
		}
		b.crc, b.want = crc64.New(crcTable), binary.LittleEndian.Uint64(want)
	}
	return b, nil
}

// crcTable is of the polynomial that the Blob service uses.
var crcTable = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// body reads a request body.
type body struct {
	r       io.Reader
	control *http.ResponseController
	count   func(float64)
	until   time.Time // when all of it must have come
	crc     hash.Hash64
	want    uint64
}

func (b *body) Read(p []byte) (int, error) {
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = b.control.SetReadDeadline(patience(b.until))
	n, err := b.r.Read(p)
	b.count(float64(n))
	if b.crc != nil {
		b.crc.Write(p[:n])
	}
	switch {
	case err == io.EOF:
		// The server goes on reading, to see the client leave.
		_ = b.control.SetReadDeadline(time.Time{})
		if b.crc != nil && b.crc.Sum64() != b.want {
			return n, fail(crc64Mismatch, "the body does not have the CRC-64 of the header x-ms-content-crc64")
		}
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("read the request body: %w", err)
	}
	return n, err
}

// patience returns when a client that does nothing is given up: after a while, but
// not later than a time, unless that is zero.
func patience(until time.Time) time.Time {
	at := time.Now().Add(idle)
	if !until.IsZero() && until.Before(at) {
		return until
	}
	return at
}

// memory waits for the right to hold a body of n bytes in memory. The client gets
// some time to send or take it, not more.
func (h *handler) memory(c *call, n int64) (release func(), err error) {
	if n <= smallBody {
		return func() {}, nil
	}
	select {
	case h.buffers <- struct{}{}:
		c.until = time.Now().Add(heldFor)
		return func() { <-h.buffers }, nil
	case <-c.r.Context().Done():
		return nil, c.r.Context().Err()
	}
}

// sums returns the MD5 the body must have; nil for any.
func (c *call) sum(names ...string) ([]byte, error) {
	var sum []byte
	for _, name := range names {
		s, err := sumHeader(c.r.Header, name)
		if err != nil {
			return nil, err
		}
		if s != nil && sum != nil && !bytes.Equal(s, sum) {
			return nil, fail(md5Mismatch, "%s differs from %s", names[0], name)
		}
		if s != nil {
			sum = s
		}
	}
	return sum, nil
}

// deliver sends n bytes of r as the answer.
func (h *handler) deliver(c *call, status int, r io.Reader) error {
	c.status = status
	c.w.WriteHeader(status)
	control := http.NewResponseController(c.w)
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			_ = control.SetWriteDeadline(patience(c.until))
			if _, werr := c.w.Write(buf[:n]); werr != nil {
				return nil //nolint:nilerr // the client has left: there is nobody to tell
			}
			h.metrics.BytesOut.Add(float64(n))
		}
		if err == io.EOF {
			_ = control.SetWriteDeadline(time.Time{})
			return nil
		}
		if err != nil {
			return fmt.Errorf("read blob: %w", err)
		}
	}
}

// wrapContainer makes "not there" and "there already" those of a container.
func wrapContainer(err error) error {
	if errors.Is(err, port.ErrExists) {
		return fail(containerExists, "the container exists already")
	}
	return err
}
