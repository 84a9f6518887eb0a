package blob

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// CheckName says what is wrong with the name of a blob, nil if nothing is. A
// name is UTF-8 text without control characters; slashes part it into segments,
// which may be empty but not "." or "..", since clients resolve those.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrName, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not UTF-8", ErrName)
	case strings.Count(name, "/") >= MaxSegments:
		return fmt.Errorf("%w: it has more than %d segments", ErrName, MaxSegments)
	}
	for _, r := range name {
		// XML, which lists are written in, has no place for these.
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff {
			return fmt.Errorf("%w: it has the control character %U", ErrName, r)
		}
	}
	for s := range strings.SplitSeq(name, "/") {
		if s == "." || s == ".." {
			return fmt.Errorf("%w: %q is not allowed between slashes", ErrName, s)
		}
	}
	return nil
}

// CheckContainer says what is wrong with the name of a container: it has 3 to
// 63 lower-case letters, digits and single inner hyphens.
func CheckContainer(name string) error {
	if len(name) < MinContainer || len(name) > MaxContainer {
		return fmt.Errorf("%w: the name of a container has %d to %d characters, %q has %d", ErrName, MinContainer, MaxContainer, clip(name), len(name))
	}
	for i := range len(name) {
		c := name[i]
		inner := i > 0 && i < len(name)-1 && name[i-1] != '-'
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || !inner) {
			return fmt.Errorf("%w: the name of a container has lower-case letters, digits and single inner hyphens, not so %q", ErrName, name)
		}
	}
	return nil
}

// CheckBlockID says what is wrong with the id of a block: it is the base64 of 1
// to 64 bytes.
func CheckBlockID(id string) error {
	b, err := base64.StdEncoding.Strict().DecodeString(id)
	if err != nil || len(b) == 0 || len(b) > MaxBlockID || strings.ContainsAny(id, "\r\n") {
		return fmt.Errorf("%w: the id of a block is base64 of 1 to %d bytes, not so %q", ErrBlock, MaxBlockID, clip(id))
	}
	return nil
}

// CheckProperties says whether properties are too large to be kept.
func CheckProperties(p Properties) error {
	if n := p.size(); n > MaxProperties {
		return fmt.Errorf("%w: they have %d bytes, at most %d are allowed", ErrProperties, n, MaxProperties)
	}
	return nil
}

// clip shortens text of a client that is repeated in a message.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
