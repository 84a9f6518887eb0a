// Package sas reads, checks and writes shared access signatures and the
// connection strings that carry the keys for them.
//
// It knows the text and the arithmetic. Which key belongs to whom, whether a
// resource is one of ours and whether an expiry has passed is decided by its
// callers.
package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// Prefix begins every token, followed by one space.
const Prefix = "SharedAccessSignature"

// MaxToken bounds the length of a token that is read, in bytes. Two ids of 128
// characters, each escaped twice, fit several times.
const MaxToken = 4 << 10

// maxExpiry is the last second of the year 9999. Later expiries mean the same:
// never.
const maxExpiry = 253402300799

// ErrMalformed is wrapped by every error of [Parse].
var ErrMalformed = errors.New("malformed shared access signature")

// Token is a shared access signature taken apart. Nothing in it is verified.
type Token struct {
	Resource    string // sr, percent-decoded once
	RawResource string // sr as it stands in the token
	Signature   string // sig, percent-decoded: base64 text
	RawExpiry   string // se as it stands in the token
	Policy      string // skn, percent-decoded; "" when absent or empty
	Expiry      time.Time
}

// Parse takes a token apart. Fields may come in any order; unknown ones are
// ignored. An expiry beyond the year 9999 is read as its end.
func Parse(s string) (Token, error) {
	if len(s) > MaxToken {
		return Token{}, fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrMalformed, len(s), MaxToken)
	}
	rest, ok := strings.CutPrefix(s, Prefix+" ")
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with %q", ErrMalformed, Prefix+" ")
	}
	var t Token
	var seen struct{ sr, sig, se, skn bool }
	for pair := range strings.SplitSeq(rest, "&") {
		key, value, _ := strings.Cut(pair, "=")
		var twice bool
		switch key {
		case "sr":
			twice, seen.sr = seen.sr, true
			t.RawResource, t.Resource = value, percent.Unescape(value)
		case "sig":
			twice, seen.sig = seen.sig, true
			t.Signature = percent.Unescape(value)
		case "se":
			twice, seen.se = seen.se, true
			t.RawExpiry = value
		case "skn":
			twice, seen.skn = seen.skn, true
			t.Policy = percent.Unescape(value)
		}
		if twice {
			return Token{}, fmt.Errorf("%w: field %s is given twice", ErrMalformed, key)
		}
	}
	for _, f := range []struct{ name, value string }{{"sr", t.Resource}, {"sig", t.Signature}, {"se", t.RawExpiry}} {
		if f.value == "" {
			return Token{}, fmt.Errorf("%w: field %s is missing", ErrMalformed, f.name)
		}
	}
	// The decoder skips line breaks; a signature has none.
	if _, err := base64.StdEncoding.Strict().DecodeString(t.Signature); err != nil || strings.ContainsAny(t.Signature, "\r\n") {
		return Token{}, fmt.Errorf("%w: field sig is not base64", ErrMalformed)
	}
	var err error
	if t.Expiry, err = parseExpiry(t.RawExpiry); err != nil {
		return Token{}, err
	}
	return t, nil
}

// parseExpiry reads seconds since the epoch, with an optional decimal fraction.
func parseExpiry(s string) (time.Time, error) {
	whole, fraction, dotted := strings.Cut(s, ".")
	if whole == "" || !digits(whole) || dotted && !digits(fraction) {
		return time.Time{}, fmt.Errorf("%w: field se is not a number of seconds", ErrMalformed)
	}
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec >= maxExpiry { // the only error left is a number out of range
		return time.Unix(maxExpiry, 0).UTC(), nil //nolint:nilerr // far away is far away
	}
	var nanos int64
	for i := range 9 {
		nanos *= 10
		if i < len(fraction) {
			nanos += int64(fraction[i] - '0')
		}
	}
	return time.Unix(sec, nanos).UTC(), nil
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Verify reports whether key signed t. What was signed is the resource exactly
// as it stands in the token, since clients differ in the case of percent
// escapes; the decoded resource is tried as well, for clients that sign before
// they escape. It takes the same time for every wrong signature, and an empty
// key verifies nothing.
func (t Token) Verify(key []byte) bool {
	sig, err := base64.StdEncoding.Strict().DecodeString(t.Signature)
	if err != nil || len(key) == 0 {
		return false
	}
	raw := hmac.Equal(sig, mac(key, t.RawResource, t.RawExpiry))
	decoded := hmac.Equal(sig, mac(key, t.Resource, t.RawExpiry))
	return raw || decoded
}

// Sign returns a token for resource, e.g. "hub.example.com/devices/d1", that
// expires at expiry, in whole seconds. Policy is "" for a device's or module's
// own key.
func Sign(resource string, key []byte, policy string, expiry time.Time) string {
	sr, se := percent.Escape(resource), strconv.FormatInt(expiry.Unix(), 10)
	sig := base64.StdEncoding.EncodeToString(mac(key, sr, se))
	b := make([]byte, 0, len(Prefix)+len(sr)+len(policy)+96)
	b = append(b, Prefix+" sr="...)
	b = append(b, sr...)
	b = append(b, "&sig="...)
	b = percent.AppendEscape(b, sig)
	b = append(b, "&se="...)
	b = append(b, se...)
	if policy != "" {
		b = append(b, "&skn="...)
		b = percent.AppendEscape(b, policy)
	}
	return string(b)
}

func mac(key []byte, resource, expiry string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(resource))
	h.Write([]byte{'\n'})
	h.Write([]byte(expiry))
	return h.Sum(nil)
}
