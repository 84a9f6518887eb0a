package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// formatVersion is the version of every file this program writes, and the only
// one it reads.
const formatVersion = 1

// saltBytes is the size of a log's random salt.
const saltBytes = 16

// errFormat says that a file is not what its name promises.
var errFormat = errors.New("damaged or not a file of an event log")

// versionError says that a file was written by another release.
type versionError struct {
	file    string
	version uint32
}

func (e *versionError) Error() string {
	return fmt.Sprintf("%s has format version %d, this program reads version %d; open it with the release that wrote it, or a newer one",
		e.file, e.version, formatVersion)
}

// checkVersion looks at the magic and version that begin every file.
func checkVersion(name, magic string, b []byte) error {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return fmt.Errorf("%s: %w", name, errFormat)
	}
	switch v := binary.LittleEndian.Uint32(b[len(magic):]); v {
	case formatVersion:
		return nil
	case 0: // no version: the rest of a torn write
		return fmt.Errorf("%s: %w", name, errFormat)
	default:
		return &versionError{name, v}
	}
}

// sealed appends the CRC of b to it.
func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unsealed returns b without its CRC, and whether that was right.
func unsealed(b []byte) ([]byte, bool) {
	if len(b) < 4 {
		return nil, false
	}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	return body, crc32.Checksum(body, castagnoli) == binary.LittleEndian.Uint32(sum)
}

// decoder reads fixed-size integers from the front of b. When b is too short it
// gives zeros and sets short.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.b, d.short = nil, true
		return make([]byte, max(0, min(n, 16)))
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *decoder) i64() int64  { return int64(d.u64()) }
