package seglog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

const (
	frameHeader = 28

	// flagFirst: the first frame of a group. Everything before it was on
	// stable storage when it was written.
	flagFirst = 1
	// flagMore: the next frame belongs to the same batch, which is kept or
	// lost as a whole when a tail is cut.
	flagMore = 2
)

// castagnoli is CRC-32C, which processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one record as it lies in a segment.
type frame struct {
	flags     byte
	partition int
	offset    eventlog.Offset
	time      int64  // µs since 1970
	payload   []byte // part of the bytes it was parsed from
}

// size is the number of bytes of the frame in the segment.
func (f *frame) size() int64 { return frameHeader + int64(len(f.payload)) }

// marker is a byte of every frame of a segment, with which the search for the
// next valid frame begins. It depends on the secret seed, so that payloads made
// to look like frames do not slow that search down, and is never zero, ASCII,
// or part of the zeros behind the frames.
func marker(seed uint32) byte { return 0x80 | byte(seed) }

// payloadCRC is the part of a frame's checksum that needs neither offset nor
// segment, so that appenders compute it before they take the lock.
func payloadCRC(payload []byte) uint32 { return crc32.Update(0, castagnoli, payload) }

// appendFrame appends f to dst; crc is the payloadCRC of its payload.
func appendFrame(dst []byte, f *frame, crc, seed uint32) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	h := dst[n : n+frameHeader]
	binary.LittleEndian.PutUint32(h[4:], uint32(len(f.payload)))
	h[8] = marker(seed)
	h[9] = f.flags
	binary.LittleEndian.PutUint16(h[10:], uint16(f.partition))
	binary.LittleEndian.PutUint64(h[12:], uint64(f.offset))
	binary.LittleEndian.PutUint64(h[20:], uint64(f.time))
	binary.LittleEndian.PutUint32(h, crc32.Update(crc, castagnoli, h[4:])^seed)
	return append(dst, f.payload...)
}

// frameLength returns the size of the frame at the start of b if its header can
// be one, of a log with that many partitions. It says nothing of the checksum.
func frameLength(b []byte, partitions int, seed uint32) (int, bool) {
	if len(b) < frameHeader || b[8] != marker(seed) || b[9] > flagFirst|flagMore {
		return 0, false
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > MaxRecordBytes || int(binary.LittleEndian.Uint16(b[10:])) >= partitions {
		return 0, false
	}
	return frameHeader + int(n), true
}

// parseFrame reads the frame at the start of b. It is false when there is none
// that is whole and valid.
func parseFrame(b []byte, partitions int, seed uint32) (f frame, ok bool) {
	n, ok := frameLength(b, partitions, seed)
	if !ok || n > len(b) {
		return frame{}, false
	}
	f.payload = b[frameHeader:n:n]
	crc := crc32.Update(payloadCRC(f.payload), castagnoli, b[4:frameHeader])
	if crc^seed != binary.LittleEndian.Uint32(b) {
		return frame{}, false
	}
	f.flags = b[9]
	f.partition = int(binary.LittleEndian.Uint16(b[10:]))
	f.offset = eventlog.Offset(binary.LittleEndian.Uint64(b[12:]))
	f.time = int64(binary.LittleEndian.Uint64(b[20:]))
	if f.offset < 0 {
		return frame{}, false
	}
	return f, true
}

// findFrame returns the position of the first valid frame at or behind pos with
// all of flags set, or false. It is how reading goes on behind damage.
func findFrame(c *chunk, pos int64, partitions int, seed uint32, flags byte) (int64, bool, error) {
	for pos+frameHeader <= c.limit {
		b, err := c.at(pos, frameHeader)
		if err != nil {
			return 0, false, err
		}
		if len(b) < frameHeader {
			return 0, false, nil // the file is shorter than it should be
		}
		// Marker bytes stand at 8 of a frame: look only where one does.
		i := bytes.IndexByte(b[8:], marker(seed))
		if i < 0 {
			pos += int64(len(b)) - 8
			continue
		}
		pos += int64(i)
		if b, err = c.at(pos, frameHeader); err != nil {
			return 0, false, err
		}
		if n, ok := frameLength(b, partitions, seed); ok && b[9]&flags == flags {
			if b, err = c.at(pos, n); err != nil {
				return 0, false, err
			}
			if _, ok := parseFrame(b, partitions, seed); ok {
				return pos, true, nil
			}
		}
		pos++
	}
	return 0, false, nil
}

// frameSeed returns the seed of the checksums of the frames of the log with that
// salt.
func frameSeed(salt [saltBytes]byte) uint32 { return crc32.Checksum(salt[:], castagnoli) }

// footerSeed returns the seed of the checksum of the footer of segment id.
func footerSeed(salt [saltBytes]byte, id uint64) uint32 {
	var b [saltBytes + 8]byte
	copy(b[:], salt[:])
	binary.LittleEndian.PutUint64(b[saltBytes:], id)
	return crc32.Checksum(b[:], castagnoli)
}
