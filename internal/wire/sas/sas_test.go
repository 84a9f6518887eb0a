package sas_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/sas"
)

var (
	key    = []byte("0123456789abcdef0123456789abcdef")
	expiry = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

// signature is base64(HMAC-SHA256(key, sr + "\n" + se)), as every client has it.
func signature(sr, se string) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s\n%s", sr, se)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// awkward returns an expiry for which the signature has a '+' and a '/', the
// characters that encodings treat differently.
func awkward(sr string) (se, sig string) {
	for i := 1893456000; ; i++ {
		se = fmt.Sprint(i)
		if sig = signature(sr, se); strings.Contains(sig, "+") && strings.Contains(sig, "/") {
			return se, sig
		}
	}
}

func TestTokensOfClients(t *testing.T) {
	const host, path = "hub.azure-devices.net", "hub.azure-devices.net/devices/dev 1"
	upper, lower := "hub.azure-devices.net%2Fdevices%2Fdev%201", "hub.azure-devices.net%2fdevices%2fdev%201"
	tests := []struct {
		name  string
		token func() string
		want  sas.Token // Resource, RawResource and Policy
	}{
		{"Node", func() string {
			se, sig := awkward(upper)
			return "SharedAccessSignature sr=" + upper + "&sig=" + url.QueryEscape(sig) + "&se=" + se
		}, sas.Token{Resource: path, RawResource: upper}},
		{"Node service, host as it is", func() string {
			se, sig := awkward(host)
			return "SharedAccessSignature sr=" + host + "&sig=" + url.QueryEscape(sig) + "&skn=iothubowner&se=" + se
		}, sas.Token{Resource: host, RawResource: host, Policy: "iothubowner"}},
		{"Python, slash of the signature as it is", func() string {
			se, sig := awkward(upper)
			return "SharedAccessSignature sr=" + upper + "&sig=" + strings.NewReplacer("+", "%2B", "=", "%3D").Replace(sig) + "&se=" + se
		}, sas.Token{Resource: path, RawResource: upper}},
		{"signature not escaped at all", func() string {
			se, sig := awkward(upper)
			return "SharedAccessSignature sr=" + upper + "&sig=" + sig + "&se=" + se
		}, sas.Token{Resource: path, RawResource: upper}},
		{"C#, lower case escapes", func() string {
			se, sig := awkward(lower)
			return "SharedAccessSignature sr=" + lower + "&sig=" + strings.NewReplacer("+", "%2b", "/", "%2f", "=", "%3d").Replace(sig) + "&se=" + se + "&skn=device"
		}, sas.Token{Resource: path, RawResource: lower, Policy: "device"}},
		{"Java, sig and se first", func() string {
			se, sig := awkward(upper)
			return "SharedAccessSignature sig=" + url.QueryEscape(sig) + "&se=" + se + "&sr=" + upper
		}, sas.Token{Resource: path, RawResource: upper}},
		{"C, empty policy", func() string {
			se, sig := awkward(lower)
			return "SharedAccessSignature sr=" + lower + "&sig=" + url.QueryEscape(sig) + "&se=" + se + "&skn="
		}, sas.Token{Resource: path, RawResource: lower}},
		{"signed before it was escaped", func() string {
			se, sig := awkward(path)
			return "SharedAccessSignature sr=" + upper + "&sig=" + url.QueryEscape(sig) + "&se=" + se
		}, sas.Token{Resource: path, RawResource: upper}},
		{"decimal expiry", func() string {
			se := "1893456000.25"
			return "SharedAccessSignature sr=" + upper + "&sig=" + url.QueryEscape(signature(upper, se)) + "&se=" + se
		}, sas.Token{Resource: path, RawResource: upper}},
		{"unknown field", func() string {
			se, sig := awkward(upper)
			return "SharedAccessSignature sr=" + upper + "&sig=" + url.QueryEscape(sig) + "&se=" + se + "&x=y&"
		}, sas.Token{Resource: path, RawResource: upper}},
		{"our own", func() string { return sas.Sign(path, key, "service", expiry) }, sas.Token{Resource: path, RawResource: upper, Policy: "service"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.token()
			got, err := sas.Parse(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if got.Resource != tt.want.Resource || got.RawResource != tt.want.RawResource || got.Policy != tt.want.Policy {
				t.Errorf("%s: got %+v", text, got)
			}
			if got.Expiry.Before(expiry) || got.Expiry.After(expiry.Add(24*time.Hour)) {
				t.Errorf("%s: expiry %s", text, got.Expiry)
			}
			if !got.Verify(key) {
				t.Errorf("%s: the right key is refused", text)
			}
			if got.Verify(key[1:]) || got.Verify(nil) {
				t.Errorf("%s: a wrong key is accepted", text)
			}
			// Any change of what was signed must show.
			for _, change := range []func(*sas.Token){
				func(t *sas.Token) { t.RawResource += "x"; t.Resource += "x" },
				func(t *sas.Token) { t.RawExpiry += "0" },
				func(t *sas.Token) { t.Signature = t.Signature[4:] },
				func(t *sas.Token) { t.Signature = "" },
			} {
				bad := got
				if change(&bad); bad.Verify(key) {
					t.Errorf("%s: accepted after a change: %+v", text, bad)
				}
			}
		})
	}
}

// An empty key verifies nothing, even what was signed with it.
func TestEmptyKey(t *testing.T) {
	tok, err := sas.Parse(sas.Sign("hub", nil, "", expiry))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Verify(nil) || tok.Verify([]byte{}) {
		t.Error("a signature of the empty key is accepted")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"empty":              "",
		"another scheme":     "Bearer abc",
		"no space":           "SharedAccessSignaturesr=h&sig=aaaa&se=1",
		"two spaces":         "SharedAccessSignature  sr=h&sig=aaaa&se=1",
		"lower case":         "sharedaccesssignature sr=h&sig=aaaa&se=1",
		"nothing":            "SharedAccessSignature ",
		"no sr":              "SharedAccessSignature sig=aaaa&se=1",
		"no sig":             "SharedAccessSignature sr=h&se=1",
		"no se":              "SharedAccessSignature sr=h&sig=aaaa",
		"empty sr":           "SharedAccessSignature sr=&sig=aaaa&se=1",
		"empty sig":          "SharedAccessSignature sr=h&sig=&se=1",
		"empty se":           "SharedAccessSignature sr=h&sig=aaaa&se=",
		"sr twice":           "SharedAccessSignature sr=h&sr=h&sig=aaaa&se=1",
		"se twice":           "SharedAccessSignature sr=h&sig=aaaa&se=1&se=2",
		"skn twice":          "SharedAccessSignature sr=h&sig=aaaa&se=1&skn=&skn=a",
		"not base64":         "SharedAccessSignature sr=h&sig=a*aa&se=1",
		"space in base64":    "SharedAccessSignature sr=h&sig=a%20aa&se=1",
		"newline in base64":  "SharedAccessSignature sr=h&sig=aa%0Aaa&se=1",
		"truncated":          "SharedAccessSignature sr=h&sig=aaa&se=1",
		"negative expiry":    "SharedAccessSignature sr=h&sig=aaaa&se=-1",
		"signed expiry":      "SharedAccessSignature sr=h&sig=aaaa&se=+1",
		"expiry of words":    "SharedAccessSignature sr=h&sig=aaaa&se=never",
		"expiry in hex":      "SharedAccessSignature sr=h&sig=aaaa&se=0x10",
		"only a fraction":    "SharedAccessSignature sr=h&sig=aaaa&se=.5",
		"two fractions":      "SharedAccessSignature sr=h&sig=aaaa&se=1.5.5",
		"exponent":           "SharedAccessSignature sr=h&sig=aaaa&se=1e9",
		"longer than anyone": "SharedAccessSignature sr=h&sig=aaaa&se=1&skn=" + strings.Repeat("x", sas.MaxToken),
	} {
		if tok, err := sas.Parse(s); !errors.Is(err, sas.ErrMalformed) || tok != (sas.Token{}) {
			t.Errorf("%s: got %+v, %v, want ErrMalformed", name, tok, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	end := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	for se, want := range map[string]time.Time{
		"0":                       time.Unix(0, 0).UTC(),
		"1893456000":              expiry,
		"1893456000.":             expiry,
		"1893456000.5":            expiry.Add(time.Second / 2),
		"1893456000.123456789123": expiry.Add(123456789),
		"0001893456000":           expiry,
		"1893456000000":           end, // milliseconds: far away, not an error
		"99999999999999999999999": end,
	} {
		tok, err := sas.Parse("SharedAccessSignature sr=h&sig=aaaa&se=" + se)
		if err != nil || !tok.Expiry.Equal(want) || tok.RawExpiry != se {
			t.Errorf("%s: got %v (%q), %v, want %v", se, tok.Expiry, tok.RawExpiry, err, want)
		}
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		granted, wanted string
		want, fold      bool
	}{
		{"hub", "hub", true, true},
		{"hub", "hub/devices/d", true, true},
		{"HUB.Example.com/devices", "hub.example.com/devices/d", true, true},
		{"hub/devices/d", "hub/devices/d", true, true},
		{"hub/devices/d/", "hub/devices/d", true, true},
		{"hub/devices/d", "hub/devices/d/modules/m", true, true},
		{"hub/devices/d", "hub/devices/d2", false, false},
		{"hub/devices/d", "hub/devices", false, false},
		{"hub/devices/d", "hub", false, false},
		{"hub/devices/d/modules/m", "hub/devices/d", false, false},
		{"hub/devices/d/extra", "hub/devices/d", false, false},
		{"hub/devices/D", "hub/devices/d", false, true},
		{"hub/Devices/d", "hub/devices/d", false, true},
		{"hub/devices/d?api-version=2020-09-30", "hub/devices/d", true, true},
		{"hub/devices/d/?api-version=2020-09-30", "hub/devices/d", true, true},
		{"hub/devices/d", "hub/devices/d?api-version=2020-09-30", false, false},
		{"hub/devices/d?api-version=1", "hub/devices/d?api-version=1", true, true},
		{"hub/devices/d?x=y", "hub/devices/d", false, false},
		{"https://hub", "hub/devices/d", true, true},
		{"sb://ns/hub", "sb://NS/hub/ConsumerGroups/g", true, true},
		{"sb://ns/hub", "sb://ns/hub2", false, false},
		{"hub:8443", "hub/devices", true, true},
		{"hub", "hub:8443/devices", true, true},
		{"[::1]:8443/devices", "[::1]/devices/d", true, true},
		{"hub2", "hub", false, false},
		{"hu", "hub", false, false},
		{"", "hub", false, false},
		{"", "", false, false},
		{"/", "/devices", false, false},
		{"/devices", "hub/devices", false, false},
		{"hub//devices", "hub/devices", true, true},
		{"hub/devices//d", "hub/devices/d", false, false},
	}
	for _, tt := range tests {
		if got := sas.Covers(tt.granted, tt.wanted); got != tt.want {
			t.Errorf("Covers(%q, %q) = %v", tt.granted, tt.wanted, got)
		}
		if got := sas.CoversFold(tt.granted, tt.wanted); got != tt.fold {
			t.Errorf("CoversFold(%q, %q) = %v", tt.granted, tt.wanted, got)
		}
	}
}

func TestHost(t *testing.T) {
	for in, want := range map[string]string{
		"hub": "hub", "hub:443": "hub", "1.2.3.4:1": "1.2.3.4", "[::1]": "[::1]", "[::1]:443": "[::1]", "::1": "::1", "": "",
	} {
		if got := sas.Host(in); got != want {
			t.Errorf("Host(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sas.Sign("hub/devices/d%1", key, "", expiry))
	f.Add(sas.Sign("hub", key, "p&=", expiry))
	f.Add("SharedAccessSignature sr=h&sig=aaaa&se=1.5&skn=")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := sas.Parse(s)
		if err != nil {
			return
		}
		if tok.Verify(key) && !strings.Contains(s, tok.RawResource) {
			t.Errorf("%q: verified without its resource", s)
		}
		again, err := sas.Parse(sas.Sign(tok.Resource, key, tok.Policy, tok.Expiry))
		if len(s) < 1000 && (err != nil || again.Resource != tok.Resource || again.Policy != tok.Policy ||
			!again.Expiry.Equal(tok.Expiry.Truncate(time.Second)) || !again.Verify(key)) {
			t.Errorf("%q: signed again %+v, %v, from %+v", s, again, err, tok)
		}
		if sas.Covers(tok.Resource, tok.Resource+"x") && !strings.HasSuffix(tok.Resource, "/") && strings.Contains(strings.TrimRight(tok.Resource, "/"), "/") &&
			!strings.ContainsAny(tok.Resource, "?:") {
			t.Errorf("%q covers a longer last segment", tok.Resource)
		}
	})
}

func BenchmarkParseVerify(b *testing.B) {
	b.ReportAllocs()
	text := sas.Sign("hub.example.com/devices/dev1", key, "", expiry)
	for b.Loop() {
		if tok, err := sas.Parse(text); err != nil || !tok.Verify(key) {
			b.Fatal(err)
		}
	}
}
