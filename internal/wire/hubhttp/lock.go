package hubhttp

import (
	"encoding/hex"
	"strings"

	"github.com/causeway-iot/causeway"
)

// LockText writes a lock token as a UUID.
func LockText(l causeway.LockToken) string {
	s := hex.EncodeToString(l[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// ParseLock reads what LockText wrote, in any case, quoted or not.
func ParseLock(s string) (l causeway.LockToken, ok bool) {
	s = strings.Trim(s, `"`)
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return l, false
	}
	n, err := hex.Decode(l[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return l, err == nil && n == len(l) && l != causeway.LockToken{}
}
