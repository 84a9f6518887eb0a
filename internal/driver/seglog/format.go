package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

const (
	headerMagic = "CWSEGLOG"
	footerMagic = "CWSEGEND"

	headerFixed  = 72 // bytes before the partitions
	headerPart   = 16 // bytes of one partition
	trailerBytes = 8 + 8 + 8 + 4 + 4
)

// header is what a segment says of itself and of the one before it.
type header struct {
	id      uint64
	prev    uint64 // id of the segment before, 0 for none
	prevEnd int64  // where the frames of that one truly end
	created int64  // µs since 1970
	salt    [saltBytes]byte
	base    []eventlog.Offset // per partition: the next offset
	last    []int64           // per partition: time of the last record before
}

// headerBytes is the size of a header with so many partitions, and where the
// frames begin.
func headerBytes(partitions int) int64 {
	return headerFixed + headerPart*int64(partitions) + 4
}

// append appends the bytes of h to dst.
func (h *header) append(dst []byte) []byte {
	b := append(make([]byte, 0, headerBytes(len(h.base))), headerMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(headerBytes(len(h.base))))
	b = binary.LittleEndian.AppendUint64(b, h.id)
	b = binary.LittleEndian.AppendUint64(b, h.prev)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.prevEnd))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.created))
	b = append(b, h.salt[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.base)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	for p := range h.base {
		b = binary.LittleEndian.AppendUint64(b, uint64(h.base[p]))
		b = binary.LittleEndian.AppendUint64(b, uint64(h.last[p]))
	}
	return append(dst, sealed(b)...)
}

// parseHeader reads the header of the segment called name from b, the first
// headerBytes of the file. Errors: *versionError, errFormat.
func parseHeader(name string, b []byte, partitions int) (header, error) {
	if err := checkVersion(name, headerMagic, b); err != nil {
		return header{}, err
	}
	if int64(len(b)) != headerBytes(partitions) {
		return header{}, fmt.Errorf("%s: header of %d bytes: %w", name, len(b), errFormat)
	}
	body, ok := unsealed(b)
	d := decoder{b: body[len(headerMagic)+4:]}
	length := d.u32()
	h := header{
		id:      d.u64(),
		prev:    d.u64(),
		prevEnd: d.i64(),
		created: d.i64(),
		salt:    [saltBytes]byte(d.take(saltBytes)),
	}
	n := d.u32()
	d.u32()
	if !ok || int64(length) != headerBytes(partitions) || int(n) != partitions {
		return header{}, fmt.Errorf("%s: header: %w", name, errFormat)
	}
	h.base = make([]eventlog.Offset, partitions)
	h.last = make([]int64, partitions)
	for p := range h.base {
		h.base[p], h.last[p] = eventlog.Offset(d.i64()), d.i64()
		if h.base[p] < 0 {
			return header{}, fmt.Errorf("%s: header: %w", name, errFormat)
		}
	}
	return h, nil
}

// readHeader reads the header of an open segment. Errors: *versionError,
// errFormat (also for a file that is shorter than a header), and what the file
// system says.
func readHeader(name string, f file, partitions int) (header, error) {
	b := make([]byte, headerBytes(partitions))
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		return parseHeader(name, b, partitions)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, fmt.Errorf("read header of %s: %w", name, err)
	}
	if err := checkVersion(name, headerMagic, b[:n]); err != nil {
		return header{}, err
	}
	return header{}, fmt.Errorf("%s: header: %w", name, errFormat)
}

// appendFooter appends the footer of s to dst: it belongs at s.end.
func appendFooter(dst []byte, s *segment) []byte {
	n := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s.parts)))
	for p := range s.parts {
		pt := &s.parts[p]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(s.base[p]))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(pt.next))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(pt.first))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(pt.last))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pt.index)))
		for _, e := range pt.index {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(e.offset))
			dst = binary.LittleEndian.AppendUint64(dst, uint64(e.pos))
			dst = binary.LittleEndian.AppendUint64(dst, uint64(e.time))
		}
	}
	blob := dst[n:]
	blobLen, blobCRC := len(blob), crc32.Checksum(blob, castagnoli)

	t := len(dst)
	dst = append(dst, footerMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.end))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(blobLen))
	dst = binary.LittleEndian.AppendUint32(dst, blobCRC)
	// The seed keeps a client from writing a footer into a torn tail.
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[t:], castagnoli)^s.seed)
}

// readFooter fills s from the footer of its file of that size. It is false when
// there is no valid one, which is usual: the segment was not finished.
func readFooter(s *segment, f file, size int64) (bool, error) {
	start := headerBytes(len(s.base))
	if size < start+trailerBytes {
		return false, nil
	}
	var t [trailerBytes]byte
	if _, err := f.ReadAt(t[:], size-trailerBytes); err != nil {
		return false, fmt.Errorf("read footer of %s: %w", s.name(), err)
	}
	if string(t[:8]) != footerMagic || crc32.Checksum(t[:28], castagnoli)^s.seed != binary.LittleEndian.Uint32(t[28:]) {
		return false, nil
	}
	d := decoder{b: t[8:]}
	end, length, sum := d.i64(), d.i64(), d.u32()
	if end < start || length < 0 || end != size-trailerBytes-length {
		return false, nil
	}
	blob := make([]byte, length)
	if _, err := f.ReadAt(blob, end); err != nil {
		return false, fmt.Errorf("read footer of %s: %w", s.name(), err)
	}
	if crc32.Checksum(blob, castagnoli) != sum {
		return false, nil
	}
	base := make([]eventlog.Offset, len(s.base))
	parts := make([]part, len(s.parts))
	d = decoder{b: blob}
	if int(d.u32()) != len(parts) {
		return false, nil
	}
	for p := range parts {
		pt := &parts[p]
		base[p] = eventlog.Offset(d.i64())
		pt.next = eventlog.Offset(d.i64())
		pt.first, pt.last = d.i64(), d.i64()
		n := int64(d.u32())
		if d.short || n*24 > int64(len(d.b)) || base[p] < 0 || pt.next < base[p] {
			return false, nil
		}
		pt.index = make([]entry, n)
		for i := range pt.index {
			e := entry{eventlog.Offset(d.i64()), d.i64(), d.i64()}
			if e.pos < start || e.pos >= end || e.offset < base[p] || e.offset >= pt.next {
				return false, nil
			}
			pt.index[i] = e
		}
	}
	if d.short || len(d.b) != 0 {
		return false, nil
	}
	s.base, s.parts, s.end, s.disk = base, parts, end, size
	return true, nil
}
