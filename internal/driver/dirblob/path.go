package dirblob

import (
	"path"
	"runtime"
	"strings"
)

// Marks that end file names. A percent sign of a name itself is always escaped,
// so that none can be mistaken for a mark.
const (
	markBlob  = "%b" // the file of a blob
	markMore  = "%c" // a directory in which a long segment goes on
	markEmpty = "%e" // a segment, or the rest of one, without a byte
)

// foldsCase says that file names which differ in case alone may be one.
const foldsCase = runtime.GOOS == "windows" || runtime.GOOS == "darwin"

// blobPath returns where a blob is, below tree/.
func blobPath(name string) string {
	var b strings.Builder
	b.Grow(len(name) + len(name)/4 + 8)
	for {
		segment, rest, more := strings.Cut(name, "/")
		for len(segment) >= pieceBytes {
			escape(&b, segment[:pieceBytes])
			b.WriteString(markMore + "/")
			segment = segment[pieceBytes:]
		}
		escape(&b, segment)
		if !more {
			b.WriteString(markBlob)
			return b.String()
		}
		b.WriteByte('/')
		name = rest
	}
}

const hexDigits = "0123456789ABCDEF"

// escape writes a piece of a segment as a file name.
func escape(b *strings.Builder, s string) {
	if s == "" {
		b.WriteString(markEmpty)
	}
	for i := range len(s) {
		if c := s[i]; plain(c, i, len(s)) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
}

// plain reports whether byte i of n may stand in a file name as it is: on every
// file system, wherever a data directory may be copied to.
func plain(c byte, i, n int) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		return true
	case c >= 'A' && c <= 'Z':
		return !foldsCase
	case c == '.':
		return i > 0 && i < n-1
	case c == ' ':
		return i > 0 && i < n-1
	}
	return strings.IndexByte("!#$&'()+,;=@[]^{}~", c) >= 0
}

// entryKind says what a file name in tree/ stands for.
type entryKind uint8

const (
	entryBlob entryKind = iota
	entryDir            // a segment with others below it
	entryMore           // the beginning of a long segment
)

// unescape undoes blobPath for one file name; ok is false for names that
// blobPath does not make.
func unescape(file string) (text string, kind entryKind, ok bool) {
	kind = entryDir
	if s, cut := strings.CutSuffix(file, markBlob); cut {
		file, kind = s, entryBlob
	} else if s, cut := strings.CutSuffix(file, markMore); cut {
		file, kind = s, entryMore
	}
	if file == markEmpty {
		return "", kind, kind != entryMore
	}
	b := make([]byte, 0, len(file))
	for i := 0; i < len(file); i++ {
		c := file[i]
		if c == '%' {
			if i+2 >= len(file) {
				return "", kind, false
			}
			hi, lo := strings.IndexByte(hexDigits, file[i+1]), strings.IndexByte(hexDigits, file[i+2])
			if hi < 0 || lo < 0 {
				return "", kind, false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		b = append(b, c)
	}
	return string(b), kind, len(b) > 0
}

// parents returns the directories above a path, the outermost first.
func parents(p string) []string {
	var all []string
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		all = append(all, d)
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}
