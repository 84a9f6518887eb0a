package percent_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/percent"
)

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"":             "",
		"plain":        "plain",
		"a%20b":        "a b",
		"a+b":          "a+b",
		"%c3%A9":       "é",
		"%":            "%",
		"100%":         "100%",
		"%4":           "%4",
		"%zz%41":       "%zzA",
		"%4%41":        "%4A",
		"%2541":        "%41",
		"%%41":         "%A",
		"\x00%00%ff\t": "\x00\x00\xff\t",
	} {
		if got := percent.Unescape(in); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"AZaz09-._~":        "AZaz09-._~",
		"/ = & % + # ? é":   "%2F%20%3D%20%26%20%25%20%2B%20%23%20%3F%20%C3%A9",
		"$.mid":             "%24.mid",
		"dtmi:com:x;1":      "dtmi%3Acom%3Ax%3B1",
		"(node v18) 'a'!*~": "%28node%20v18%29%20%27a%27%21%2A~",
	} {
		if got := percent.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("a b%2541é\x00")
	f.Add("%")
	f.Fuzz(func(t *testing.T, s string) {
		escaped := percent.Escape(s)
		if strings.Trim(escaped, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%") != "" {
			t.Errorf("Escape(%q) = %q has characters that are not safe", s, escaped)
		}
		if got := percent.Unescape(escaped); got != s {
			t.Errorf("Unescape(Escape(%q)) = %q", s, got)
		}
		if got := percent.Unescape(s); len(got) > len(s) {
			t.Errorf("Unescape(%q) grew to %q", s, got)
		}
		// The standard library refuses what is kept here and agrees on the rest.
		if want, err := url.PathUnescape(s); err == nil && percent.Unescape(s) != want {
			t.Errorf("Unescape(%q) = %q, net/url says %q", s, percent.Unescape(s), want)
		}
	})
}
