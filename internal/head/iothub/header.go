package iothub

import (
	"cmp"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
)

// sortProperties puts properties in a fixed order: that of HTTP headers is lost.
func sortProperties(p []causeway.Property) {
	slices.SortFunc(p, func(a, b causeway.Property) int { return cmp.Compare(a.Key, b.Key) })
}

// headerName reports whether a property name can be part of a header name
// (RFC 9110 §5.6.2, token). Names from other protocols may not.
func headerName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// headerText makes a property value fit for a header: control characters,
// which could end it, become spaces.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
