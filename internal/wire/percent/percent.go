// Package percent knows percent-encoding (RFC 3986 §2.1) the way device clients
// use it: a plus sign is a plus sign, never a space, and an escape that is not
// one stays as it stands. It does not know URLs, queries or property bags.
package percent

import "strings"

const upper = "0123456789ABCDEF"

// unreserved marks the characters of RFC 3986 §2.3; everything else is escaped.
var unreserved = func() (t [256]bool) {
	for c := range 256 {
		b := byte(c)
		t[c] = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
			b == '-' || b == '.' || b == '_' || b == '~'
	}
	return t
}()

// AppendEscape appends s to dst with every byte outside the unreserved set
// written as %XX in upper case.
func AppendEscape(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; unreserved[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upper[c>>4], upper[c&15])
		}
	}
	return dst
}

// Escape returns s with every byte outside the unreserved set written as %XX.
func Escape(s string) string {
	for i := 0; i < len(s); i++ {
		if !unreserved[s[i]] {
			return string(AppendEscape(make([]byte, 0, len(s)+16), s))
		}
	}
	return s
}

// AppendUnescape appends s to dst with each %XX replaced by the byte it stands
// for. A percent sign without two hexadecimal digits after it is kept.
func AppendUnescape(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := digit(s[i+1]), digit(s[i+2]); hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

// Unescape returns s with each %XX replaced by the byte it stands for, s itself
// when it has none. A percent sign without two hexadecimal digits after it is
// kept.
func Unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return string(AppendUnescape(make([]byte, 0, len(s)), s))
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
