// Package blobsas reads, checks and writes the shared access signatures of the
// Blob service: the query of an address that says what its bearer may do with a
// blob, with all of a container, or with a whole account.
//
// It knows the text and the arithmetic, not what exists. What the signatures of
// IoT Hub look like is the business of package sas.
package blobsas

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// The scopes of a token.
const (
	Blob      = "b" // sr: one blob
	Container = "c" // sr: a container and its blobs
	Account   = ""  // a token with ss and srt instead
)

// AccountName is the name of the storage account that every hub has.
const AccountName = "causeway"

// Version is the version of the service that tokens are written for.
const Version = "2021-12-02"

// Versions from which the text that is signed has another form.
const (
	oldest       = "2015-04-05" // the oldest that is read
	withResource = "2018-11-09" // sr and the snapshot are signed
	withScope    = "2020-12-06" // and the encryption scope
)

// MaxQuery bounds the length of a query that is read, in bytes.
const MaxQuery = 16 << 10

// ErrMalformed is wrapped by every error of [Parse].
var ErrMalformed = errors.New("malformed shared access signature")

// Token is a signature taken apart. Nothing in it is verified.
type Token struct {
	Version     string     // sv
	Scope       string     // sr: Blob, Container; Account
	Services    string     // ss of an account token
	Types       string     // srt of an account token: s, c, o
	Permissions string     // sp
	Start       time.Time  // st; zero without
	Expiry      time.Time  // se
	Protocol    string     // spr
	From, To    netip.Addr // sip; invalid without
	Override    Override
	Signature   []byte

	fields map[string]string // as they stand in the query, decoded
}

// Override are headers that a token sets in answers that bear content.
type Override struct{ CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, ContentType string }

// known are the parameters that are part of a token.
var known = map[string]bool{
	"sv": true, "sr": true, "ss": true, "srt": true, "sp": true, "st": true, "se": true, "sip": true, "spr": true, "si": true, "ses": true, "sig": true,
	"rscc": true, "rscd": true, "rsce": true, "rscl": true, "rsct": true,
	"skoid": true, "sktid": true, "skt": true, "ske": true, "sks": true, "skv": true, "sdd": true, "saoid": true, "suoid": true, "scid": true, "tn": true,
}

// unsupported are parameters of tokens that nobody here can have issued, and why.
var unsupported = map[string]string{
	"si":    "stored access policies are not supported",
	"ses":   "encryption scopes are not supported",
	"skoid": "user delegation keys are not supported",
	"skt":   "user delegation keys are not supported",
	"sdd":   "directories are not supported",
}

// Parse reads the token in the raw query of an address, without "?". Parameters
// that are not of a token are ignored; ok is false when there is no signature.
func Parse(query string) (t Token, ok bool, err error) {
	if len(query) > MaxQuery {
		return Token{}, false, fmt.Errorf("%w: the query has %d bytes, at most %d are read", ErrMalformed, len(query), MaxQuery)
	}
	t.fields = map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if !known[key] {
			continue
		}
		if _, twice := t.fields[key]; twice {
			return Token{}, true, fmt.Errorf("%w: parameter %s is given twice", ErrMalformed, key)
		}
		t.fields[key] = percent.Unescape(value)
	}
	if _, ok := t.fields["sig"]; !ok {
		return Token{}, false, nil
	}
	return t, true, t.read()
}

// read fills the fields in from their text.
func (t *Token) read() (err error) {
	f := t.fields
	for key, why := range unsupported {
		if f[key] != "" {
			return fmt.Errorf("%w: parameter %s: %s", ErrMalformed, key, why)
		}
	}
	for _, text := range f {
		// A line break would move what is signed from one line to another.
		if strings.ContainsAny(text, "\r\n") {
			return fmt.Errorf("%w: a parameter has a line break", ErrMalformed)
		}
	}
	t.Version, t.Scope, t.Services, t.Types = f["sv"], f["sr"], f["ss"], f["srt"]
	t.Permissions, t.Protocol = f["sp"], f["spr"]
	t.Override = Override{f["rscc"], f["rscd"], f["rsce"], f["rscl"], f["rsct"]}
	if _, err := time.Parse(time.DateOnly, t.Version); err != nil || t.Version < oldest {
		return fmt.Errorf("%w: sv is not a version from %s on", ErrMalformed, oldest)
	}
	switch {
	case t.Scope == Account && (t.Services == "" || t.Types == ""):
		return fmt.Errorf("%w: neither sr, nor ss and srt, say what it is for", ErrMalformed)
	case t.Scope != Account && t.Scope != Blob && t.Scope != Container:
		return fmt.Errorf("%w: sr is none of b and c", ErrMalformed)
	case t.Scope != Account && (t.Services != "" || t.Types != ""):
		return fmt.Errorf("%w: sr and ss or srt exclude each other", ErrMalformed)
	case t.Permissions == "":
		return fmt.Errorf("%w: parameter sp is missing", ErrMalformed)
	case t.Protocol != "" && t.Protocol != "https" && t.Protocol != "https,http":
		return fmt.Errorf("%w: spr is none of https and https,http", ErrMalformed)
	}
	if t.Expiry, err = parseTime(f["se"]); err != nil {
		return fmt.Errorf("%w: se: %w", ErrMalformed, err)
	}
	if f["st"] != "" {
		if t.Start, err = parseTime(f["st"]); err != nil {
			return fmt.Errorf("%w: st: %w", ErrMalformed, err)
		}
	}
	if f["sip"] != "" {
		if t.From, t.To, err = parseRange(f["sip"]); err != nil {
			return err
		}
	}
	t.Signature, err = base64.StdEncoding.Strict().DecodeString(f["sig"])
	if err != nil || len(t.Signature) == 0 {
		return fmt.Errorf("%w: sig is not base64", ErrMalformed)
	}
	return nil
}

// layouts are the forms of times, all in UTC.
var layouts = []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04:05.9999999Z", "2006-01-02T15:04Z", time.DateOnly}

func parseTime(s string) (time.Time, error) {
	for _, l := range layouts {
		if t, err := time.Parse(l, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("it is not a time such as 2024-01-31T12:00:00Z")
}

func parseRange(s string) (from, to netip.Addr, err error) {
	first, last, both := strings.Cut(s, "-")
	if !both {
		last = first
	}
	from, err = netip.ParseAddr(first)
	if err == nil {
		to, err = netip.ParseAddr(last)
	}
	if err != nil || from.Is4() != to.Is4() {
		return from, to, fmt.Errorf("%w: sip is neither an address nor a range of them", ErrMalformed)
	}
	return from, to, nil
}

// Allows reports whether the token has any of permissions.
func (t Token) Allows(permissions string) bool {
	return strings.ContainsAny(t.Permissions, permissions)
}

// Admits reports whether the token is good for a client with that address.
func (t Token) Admits(client netip.Addr) bool {
	if !t.From.IsValid() {
		return true
	}
	client = client.Unmap().WithZone("")
	return client.Is4() == t.From.Is4() && client.Compare(t.From) >= 0 && client.Compare(t.To) <= 0
}

// ValidAt reports whether now is within the token's time.
func (t Token) ValidAt(now time.Time) bool {
	return now.Before(t.Expiry) && (t.Start.IsZero() || !now.Before(t.Start))
}
