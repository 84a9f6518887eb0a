package blobsas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// Verify reports whether key signed the token for a container, or for a blob in
// it, of an account: of a token for a container the blob does not count, of one
// for an account neither. It takes the same time for every wrong signature. An
// empty key verifies nothing.
func (t Token) Verify(key []byte, account, container, name string) bool {
	return len(key) > 0 && hmac.Equal(t.Signature, mac(key, t.text(account, container, name)))
}

// text is what is signed. Everything in it is as it stands in the query.
func (t Token) text(account, container, name string) string {
	f := t.fields
	if t.Scope == Account {
		lines := []string{account, f["sp"], f["ss"], f["srt"], f["st"], f["se"], f["sip"], f["spr"], f["sv"]}
		if t.Version >= withScope {
			lines = append(lines, f["ses"])
		}
		return strings.Join(lines, "\n") + "\n"
	}
	resource := "/blob/" + account + "/" + container
	if t.Scope == Blob {
		resource += "/" + name
	}
	lines := []string{f["sp"], f["st"], f["se"], resource, f["si"], f["sip"], f["spr"], f["sv"]}
	if t.Version >= withResource {
		lines = append(lines, f["sr"], "") // no snapshots here
	}
	if t.Version >= withScope {
		lines = append(lines, f["ses"])
	}
	lines = append(lines, f["rscc"], f["rscd"], f["rsce"], f["rscl"], f["rsct"])
	return strings.Join(lines, "\n")
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Grant says what a token shall allow.
type Grant struct {
	Container   string // "" for the account: all containers, and making and deleting them
	Blob        string // "" for all of the container
	Permissions string // letters in the order of the service: racwdxyltmeop
	Start       time.Time
	Expiry      time.Time // in whole seconds
}

// Permissions are the letters that mean something here, in the order in which
// they have to be: read, add, create, write, delete, list. A token for the
// account has them in another order, rwdlac.
const Permissions = "racwdl"

// Sign returns the query of an address, without "?", that allows what g says
// with the account AccountName.
func Sign(key []byte, g Grant) string {
	const layout = "2006-01-02T15:04:05Z"
	t := Token{Version: Version, fields: map[string]string{"sv": Version, "spr": "https", "sp": g.Permissions, "se": g.Expiry.UTC().Format(layout)}}
	switch {
	case g.Blob != "":
		t.Scope = Blob
	case g.Container != "":
		t.Scope = Container
	default:
		t.fields["ss"], t.fields["srt"], t.fields["sp"] = "b", "sco", ordered(g.Permissions, "rwdlac")
	}
	t.fields["sr"] = t.Scope
	if !g.Start.IsZero() {
		t.fields["st"] = g.Start.UTC().Format(layout)
	}
	t.fields["sig"] = base64.StdEncoding.EncodeToString(mac(key, t.text(AccountName, g.Container, g.Blob)))
	var b []byte
	for _, k := range []string{"sv", "spr", "sr", "ss", "srt", "sig", "st", "se", "sp"} {
		if t.fields[k] == "" {
			continue
		}
		if len(b) > 0 {
			b = append(b, '&')
		}
		b = append(append(b, k...), '=')
		b = percent.AppendEscape(b, t.fields[k])
	}
	return string(b)
}

// ordered returns the letters of order that are in s.
func ordered(s, order string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(s, r) {
			return r
		}
		return -1
	}, order)
}
