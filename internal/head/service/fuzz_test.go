package service_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/causeway-iot/causeway/internal/head/service"
)

// FuzzASCII: JSON without characters beyond ASCII says the same.
func FuzzASCII(f *testing.F) {
	for _, s := range []string{"", "plain", "fö", "日本", "😀", "a\u2028b", "\x00\"\\", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // what is no text never gets into JSON
		}
		text, err := json.Marshal(map[string]string{s: s})
		if err != nil {
			t.Fatal(err)
		}
		escaped := service.ASCII(text)
		for _, b := range escaped {
			if b >= utf8.RuneSelf {
				t.Fatalf("%q has a byte that is not ASCII", escaped)
			}
		}
		var back map[string]string
		if err := json.Unmarshal(escaped, &back); err != nil || len(back) != 1 || back[s] != s {
			t.Fatalf("%q became %q: %v", text, escaped, err)
		}
	})
}
