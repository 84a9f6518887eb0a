package s3blob

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

const (
	breakEvery = 200 // bytes of a key between slashes: file systems have 255
	maxEscaped = 780 // bytes of a name in a key; S3 has 1024 for all of it
	endOfName  = " 0"
	endHashed  = ".2"
)

// escape writes a name in ASCII without dots and slashes so that what is smaller
// stays smaller, and what begins with something begins with it.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == ' ':
			b.WriteString(" 1")
		case c == '.':
			b.WriteString(".0")
		case c == '/':
			b.WriteString(".1")
		case c == '~':
			b.WriteString("~-")
		case c >= 0x80:
			fmt.Fprintf(&b, "~%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// keyOf returns the end of the key of a blob's document.
func keyOf(name string) string {
	e := escape(name)
	if len(e) > maxEscaped {
		return breaks(e[:maxEscaped] + endHashed + hashOf(name))
	}
	return breaks(e + endOfName)
}

// keyPrefix returns what the keys of all names with a prefix begin with.
func keyPrefix(prefix string) string {
	// A control character is in no name; what follows it does not matter.
	if i := strings.IndexFunc(prefix, func(r rune) bool { return r < 0x20 }); i >= 0 {
		prefix = prefix[:i]
	}
	e := escape(prefix)
	return breaks(e[:min(len(e), maxEscaped)])
}

// breaks parts a long key at fixed places.
func breaks(s string) string {
	var b strings.Builder
	for len(s) > breakEvery {
		b.WriteString(s[:breakEvery])
		b.WriteByte('/')
		s = s[breakEvery:]
	}
	b.WriteString(s)
	return b.String()
}

// hashOf returns what the keys of a blob's chunks have of its name.
func hashOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// newChunk returns the last part of the key of a chunk: the id of the block that
// it is, "" for none, and the time, so that the newer of two is the greater.
func newChunk(id string) string {
	raw, err := base64.StdEncoding.DecodeString(id)
	if err != nil {
		raw = nil // ids were checked
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x.%016x%x", raw, time.Now().UnixNano(), b)
}

// blockOf returns the id of the block that a chunk is; ok is false when it is
// none.
func blockOf(key string) (id string, ok bool) {
	h, _, _ := strings.Cut(key, ".")
	raw, err := hex.DecodeString(h)
	return base64.StdEncoding.EncodeToString(raw), err == nil && len(raw) > 0
}
