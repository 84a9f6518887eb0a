package obs

import (
	"fmt"
	"log/slog"
	"strings"
)

const redacted = "REDACTED"

// secretWords mark an attribute key as holding a secret, wherever in the key
// they stand; compared without case and without '-' and '_'.
var secretWords = []string{"password", "passwd", "passphrase", "secret", "token", "authorization", "signature", "connectionstring", "credential"}

// plainKeys end in "key" and are no secrets.
var plainKeys = map[string]bool{"partitionkey": true, "routingkey": true, "twinkey": true}

// redactAttr is a slog ReplaceAttr function. It is called for every leaf,
// message included.
func redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if secretKey(a.Key) {
			a.Value = slog.StringValue(redacted)
		} else if s := a.Value.String(); suspicious(s) {
			a.Value = slog.StringValue(Redact(s))
		}
	case slog.KindAny:
		if secretKey(a.Key) {
			a.Value = slog.StringValue(redacted)
		} else {
			a.Value = redactAny(a.Value.Any())
		}
	}
	return a
}

// redactAny turns a value into one that cannot leak. A handler would print a
// struct by its exported fields, where a causeway.Secret is plain text to
// encoding/json; fmt asks Secret itself, which says REDACTED.
func redactAny(v any) slog.Value {
	switch v := v.(type) {
	case nil, *slog.Source, slog.Level:
		return slog.AnyValue(v)
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = Redact(s)
		}
		return slog.AnyValue(out)
	case error:
		return slog.StringValue(Redact(v.Error()))
	default:
		return slog.StringValue(Redact(fmt.Sprintf("%+v", v)))
	}
}

// secretKey reports whether an attribute of this key holds a secret.
func secretKey(key string) bool {
	k := strings.ToLower(key)
	k = strings.NewReplacer("-", "", "_", "").Replace(k)
	if strings.HasSuffix(k, "key") && !plainKeys[k] {
		return true
	}
	if k == "sig" || k == "sas" {
		return true
	}
	for _, w := range secretWords {
		if strings.Contains(k, w) {
			return true
		}
	}
	return false
}

// markers begin a secret inside text; what ends it depends on the grammar it
// stands in: a shared access signature, a connection string, an HTTP header.
var markers = []struct {
	text string // lower case
	ends string // characters that end the secret
}{
	{"sig=", "& \t\r\n\"';,"},
	{"sharedaccesskey=", "; \t\r\n\"'"},
	{"accountkey=", "; \t\r\n\"'"},
	{"password=", "; \t\r\n\"'&"},
	{"bearer ", " \t\r\n\"';,"},
}

// suspicious is a cheap first look: most text has none of these characters.
func suspicious(s string) bool { return strings.ContainsAny(s, "= ") && hasMarker(s) }

func hasMarker(s string) bool {
	low := strings.ToLower(s)
	for _, m := range markers {
		if strings.Contains(low, m.text) {
			return true
		}
	}
	return false
}

// Redact returns s with the secrets in it replaced by REDACTED: the sig= part
// of shared access signatures, the keys of connection strings, and bearer
// tokens.
func Redact(s string) string {
	for _, m := range markers {
		s = redactAfter(s, m.text, m.ends)
	}
	return s
}

func redactAfter(s, marker, ends string) string {
	low := strings.ToLower(s)
	if len(low) != len(s) || !strings.Contains(low, marker) {
		// Lowering can change the length of odd Unicode text, which would shift
		// the positions: fall back to comparing in place.
		if len(low) == len(s) {
			return s
		}
		low = asciiLower(s)
	}
	var b strings.Builder
	for {
		i := strings.Index(low, marker)
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		i += len(marker)
		b.WriteString(s[:i])
		end := strings.IndexAny(s[i:], ends)
		if end < 0 {
			end = len(s) - i
		}
		if end > 0 {
			b.WriteString(redacted)
		}
		s, low = s[i+end:], low[i+end:]
	}
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
