package query

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/causeway-iot/causeway"
)

// maxKey bounds the key of the last row in a token: an id, or what jobs use.
const maxKey = 512

// position is how far the pages of a query have come.
type position struct {
	sent  int               // items so far
	after causeway.Identity // the last row, without hub; of jobs Device is its key
}

// tokenBytes is the part of a token that binds it to a query.
const tokenBytes = 12

// bindToken returns what binds a token to a query on a hub.
func bindToken(hub, text string) []byte {
	h := sha256.New()
	h.Write([]byte(hub)) // hashes never fail
	h.Write([]byte{0})
	h.Write([]byte(strings.TrimSpace(text)))
	return h.Sum(nil)[:tokenBytes]
}

// formatToken returns the token of a position. It is no secret and no right: it
// names rows that the query gives anyhow.
func formatToken(hub, text string, p position) string {
	b := bindToken(hub, text)
	b = binary.AppendUvarint(b, uint64(max(p.sent, 0)))
	b = binary.AppendUvarint(b, uint64(len(p.after.Device)))
	b = append(b, p.after.Device...)
	b = append(b, p.after.Module...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseToken is the reverse of formatToken.
func parseToken(op, hub, text, token string) (position, error) {
	if token == "" {
		return position{}, nil
	}
	bad := func(why string) (position, error) {
		return position{}, causeway.Errorf(causeway.ArgumentInvalid, op, "the continuation token %s; send the one of the page before, with the query unchanged, or none to begin again", why)
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < tokenBytes {
		return bad("is not one of this service")
	}
	if string(b[:tokenBytes]) != string(bindToken(hub, text)) {
		return bad("is of another query")
	}
	b = b[tokenBytes:]
	sent, n := binary.Uvarint(b)
	if n <= 0 || sent > 1<<40 {
		return bad("is damaged")
	}
	b = b[n:]
	device, n := binary.Uvarint(b)
	if n <= 0 || device > maxKey || device > uint64(len(b)-n) || len(b)-n > 2*maxKey {
		return bad("is damaged")
	}
	b = b[n:]
	return position{sent: int(sent), after: causeway.Identity{Device: string(b[:device]), Module: string(b[device:])}}, nil
}
