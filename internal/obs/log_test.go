package obs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFormats(t *testing.T) {
	for format, isJSON := range map[string]bool{"text": false, "json": true, "auto": true, "": true} {
		var b bytes.Buffer // not a terminal
		log := obs.NewLogger(&b, format, nil)
		log.Debug("unseen")
		log.Info("seen", obs.KeyHub, "h")
		if json.Valid(b.Bytes()) != isJSON || strings.Contains(b.String(), "unseen") || !strings.Contains(b.String(), "seen") {
			t.Errorf("format %q: %s", format, b.String())
		}
	}
	var b bytes.Buffer
	obs.NewLogger(&b, "text", slog.LevelDebug).Debug("seen")
	if b.Len() == 0 {
		t.Error("level debug hides debug")
	}
}

type record struct {
	Name string
	Key  causeway.Secret
}

// TestNoSecrets shows that secrets do not get into a log, whichever way they are
// handed to it.
func TestNoSecrets(t *testing.T) {
	const secret = "hunter2hunter2=="
	token := "SharedAccessSignature sr=hub&sig=" + secret + "&se=1&skn=p"
	for name, args := range map[string][]any{
		"a key named so":        {"primaryKey", secret},
		"with a hyphen":         {"api-key", secret},
		"a password":            {"Password", secret},
		"a token":               {"admin_token", secret},
		"a header":              {"Authorization", "Basic " + secret},
		"a connection string":   {"connectionString", "whatever " + secret},
		"a secret type":         {"x", causeway.Secret(secret)},
		"a secret in a struct":  {"x", record{"n", secret}},
		"a secret in a pointer": {"x", &record{"n", secret}},
		"a secret in a map":     {"x", map[string]causeway.Secret{"a": secret}},
		"text with a token":     {"x", "refused " + token},
		"text in any case":      {"x", strings.ToUpper("sig=") + secret},
		"text with a key":       {"x", "HostName=h;SharedAccessKey=" + secret + ";X=1"},
		"text with a bearer":    {"x", "Authorization: Bearer " + secret},
		"an error":              {"x", fmt.Errorf("parse: %w", errors.New(token))},
		"a list":                {"x", []string{"a", token}},
		"a group":               {slog.Group("g", slog.String("sharedAccessKey", secret))},
		"a URL":                 {"x", "https://h/c?sv=1&sig=" + secret},
		"odd text before it":    {"x", "ŁİK sig=" + secret},
	} {
		for _, format := range []string{"text", "json"} {
			var b bytes.Buffer
			obs.NewLogger(&b, format, nil).With("before", "x").Info("m", args...)
			if strings.Contains(b.String(), "hunter2") || !strings.Contains(b.String(), "REDACTED") {
				t.Errorf("%s, %s: %s", name, format, b.String())
			}
		}
	}
	var b bytes.Buffer
	obs.NewLogger(&b, "json", nil).Info("got " + token)
	if strings.Contains(b.String(), "hunter2") {
		t.Errorf("in the message: %s", b.String())
	}
}

// TestPlainStays shows that what is no secret is left alone.
func TestPlainStays(t *testing.T) {
	var b bytes.Buffer
	obs.NewLogger(&b, "json", nil).Info("design = good", "tokens", 5, "took", time.Second, "partitionKey", "d1",
		obs.KeyDevice, "sigma=1", "missing", nil, "list", []string{"a b", "c"}, "expired", time.Time{}, obs.KeyID, causeway.Identity{Hub: "h", Device: "d"}, obs.KeyError, errors.New("no space"))
	for _, want := range []string{`"design = good"`, `"tokens":5`, `"partitionKey":"d1"`, `"device":"sigma=1"`, `"missing":null`, `["a b","c"]`, `"id":{"hub":"h","device":"d"}`, `"error":"no space"`, `"took":1000000000`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"":           "",
		"plain text": "plain text",
		"SharedAccessSignature sr=a&sig=b%2Bc%3D&se=1&skn=p": "SharedAccessSignature sr=a&sig=REDACTED&se=1&skn=p",
		"sig=a sig=b":   "sig=REDACTED sig=REDACTED",
		"sig=":          "sig=",
		"sig=&x":        "sig=&x",
		`{"t":"sig=a"}`: `{"t":"sig=REDACTED"}`,
		"HostName=h;DeviceId=d;SharedAccessKey=a+/=;GatewayHostName=g": "HostName=h;DeviceId=d;SharedAccessKey=REDACTED;GatewayHostName=g",
		"SharedAccessKeyName=p;SharedAccessKey=k":                      "SharedAccessKeyName=p;SharedAccessKey=REDACTED",
	} {
		if got := obs.Redact(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// FuzzRedact: a secret behind a marker never survives, and text without marker
// is not changed.
func FuzzRedact(f *testing.F) {
	f.Add("a ", "b")
	f.Add("İ sig=", "&se=1")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "s3cr3ts3cr3t"
		if strings.Contains(before+after, secret) {
			return
		}
		if got := obs.Redact(before + "sig=" + secret + after); strings.Contains(got, secret) {
			t.Fatalf("%q became %q", before+"sig="+secret+after, got)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	log := obs.NewLogger(discard{}, "json", nil)
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelInfo, "session opened", slog.String(obs.KeyDevice, "device-1"), slog.String(obs.KeyTransport, "mqtt"), slog.Int(obs.KeyCount, 3))
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
