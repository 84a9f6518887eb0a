package auth_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestDeviceByToken(t *testing.T) {
	dev, mod := subject("dev1", ""), subject("dev1", "mod1")
	const devPath, modPath = "/devices/dev1", "/devices/dev1/modules/mod1"
	with := func(s auth.Subject, change func(*auth.Subject)) auth.Subject { change(&s); return s }
	at := func(expiry time.Time) string { return sas.Sign(host+devPath, rawOf("dev1 1"), "", expiry) }
	on := func(host string) string { return sas.Sign(host+devPath, rawOf("dev1 1"), "", now.Add(time.Hour)) }
	good := token(devPath, "dev1 1", "")

	tests := []struct {
		name  string
		s     auth.Subject
		token string
		cause error // nil: accepted
	}{
		{"good", dev, good, nil},
		{"module", mod, token(modPath, "dev1/mod1 1", ""), nil},
		{"scope wider than the device", dev, token("/devices", "dev1 1", ""), nil},
		{"scope of the whole hub", dev, token("", "dev1 1", ""), nil},
		{"alias of the host", dev, on("LocalHost"), nil},
		{"host with a port", dev, on("localhost:8883"), nil},
		{"query after the id", dev, token(devPath+"?api-version=2020-09-30", "dev1 1", ""), nil},
		{"slash after the id", dev, token(devPath+"/", "dev1 1", ""), nil},
		{"expires now", dev, at(now), nil},
		{"clock slow by less than the tolerance", dev, at(now.Add(-causeway.TokenSkew + time.Second)), nil},
		{"expires in a hundred years", dev, at(now.AddDate(100, 0, 0)), nil},
		{"policy for all", dev, token("", "device 1", "device"), nil},
		{"policy for devices", mod, token("/devices", "device 2", "device"), nil},
		{"policy for this device", mod, token(devPath, "iothubowner 1", "iothubowner"), nil},
		{"policy for a device with certificates", with(dev, func(s *auth.Subject) { s.Type = auth.SelfSigned }), token("", "device 1", "device"), nil},
		{"policy for a device without proof", with(dev, func(s *auth.Subject) { s.Type = auth.None }), token("", "device 1", "device"), nil},
		{"only a primary key", with(dev, func(s *auth.Subject) { s.Secondary = "" }), good, nil},
		{"only a secondary key", with(dev, func(s *auth.Subject) { s.Primary = "" }), token(devPath, "dev1 2", ""), nil},

		{"expired", dev, at(now.Add(-causeway.TokenSkew)), auth.ErrExpired},
		{"expired long ago", dev, at(time.Unix(0, 0)), auth.ErrExpired},
		{"host of another hub", dev, on("other.example.com"), auth.ErrScope},
		{"host that begins alike", dev, on(host + ".evil.example"), auth.ErrScope},
		{"token of another device", dev, token("/devices/dev2", "dev2 1", ""), auth.ErrScope},
		{"scope of another device, own key", dev, token("/devices/dev2", "dev1 1", ""), auth.ErrScope},
		{"scope of this device, key of another", dev, token(devPath, "dev2 1", ""), auth.ErrSignature},
		{"id in another case", dev, token("/devices/DEV1", "dev1 1", ""), auth.ErrScope},
		{"id that begins alike", dev, token("/devices/dev", "dev1 1", ""), auth.ErrScope},
		{"longer than the device", dev, token(devPath+"/messages/events", "dev1 1", ""), auth.ErrScope},
		{"device token on a module", mod, token(devPath, "dev1 1", ""), auth.ErrSignature},
		{"device key for a module", mod, token(modPath, "dev1 1", ""), auth.ErrSignature},
		{"module token on its device", dev, token(modPath, "dev1/mod1 1", ""), auth.ErrScope},
		{"module key for its device", dev, token(devPath, "dev1/mod1 1", ""), auth.ErrSignature},
		{"token of another module", mod, token("/devices/dev1/modules/mod2", "dev1/mod2 1", ""), auth.ErrScope},
		{"key that it had before", with(dev, func(s *auth.Subject) { s.Primary, s.Secondary = secretOf("new 1"), secretOf("new 2") }), good, auth.ErrSignature},
		{"no keys", with(dev, func(s *auth.Subject) { s.Primary, s.Secondary = "", "" }), sas.Sign(host+devPath, nil, "", now.Add(time.Hour)), auth.ErrSignature},
		{"keys that are not base64", with(dev, func(s *auth.Subject) { s.Primary, s.Secondary = "*", "*" }), good, auth.ErrSignature},
		{"registered with certificates", with(dev, func(s *auth.Subject) { s.Type = auth.SelfSigned }), good, auth.ErrMethod},
		{"registered with an authority", with(dev, func(s *auth.Subject) { s.Type = auth.CA }), good, auth.ErrMethod},
		{"registered without proof", with(dev, func(s *auth.Subject) { s.Type = auth.None }), good, auth.ErrMethod},
		{"disabled", with(dev, func(s *auth.Subject) { s.Disabled, s.DisabledCause = true, "stolen" }), good, auth.ErrDisabled},
		{"disabled, policy", with(dev, func(s *auth.Subject) { s.Disabled = true }), token("", "device 1", "device"), auth.ErrDisabled},
		{"disabled, wrong key", with(dev, func(s *auth.Subject) { s.Disabled = true }), token(devPath, "dev2 1", ""), auth.ErrSignature},

		{"unknown policy", dev, token("", "device 1", "nobody"), auth.ErrPolicy},
		{"policy in another case", dev, token("", "device 1", "Device"), auth.ErrPolicy},
		{"policy without the right", dev, token("", "service 1", "service"), auth.ErrRights},
		{"key of another policy", dev, token("", "service 1", "device"), auth.ErrSignature},
		{"key of the device for a policy", dev, token(devPath, "dev1 1", "device"), auth.ErrSignature},
		{"key of a policy without its name", dev, token("", "device 1", ""), auth.ErrSignature},
		{"policy for another device", dev, token("/devices/dev2", "device 1", "device"), auth.ErrScope},
		{"policy for one of its modules", dev, token(modPath, "device 1", "device"), auth.ErrScope},
		{"policy whose key is not base64", dev, token("", "broken 1", "broken"), auth.ErrSignature},
		{"policy without keys", dev, sas.Sign(host, nil, "keyless", now.Add(time.Hour)), auth.ErrSignature},

		{"no proof", dev, "", auth.ErrNoProof},
		{"not a token", dev, "password", auth.ErrToken},
		{"bearer", dev, "Bearer abc", auth.ErrToken},
		{"no sr", dev, "SharedAccessSignature sig=aaaa&se=9999999999", auth.ErrToken},
		{"no sig", dev, "SharedAccessSignature sr=" + host + "&se=9999999999", auth.ErrToken},
		{"no se", dev, "SharedAccessSignature sr=" + host + "&sig=aaaa", auth.ErrToken},
		{"bad base64", dev, "SharedAccessSignature sr=" + host + "&sig=a*aa&se=9999999999", auth.ErrToken},
		{"signature of nothing", dev, "SharedAccessSignature sr=" + host + "&sig=aaaa&se=9999999999", auth.ErrSignature},
		{"expiry moved", dev, strings.Replace(good, "&se=", "&se=9", 1), auth.ErrSignature},
		{"decimals added", dev, good + ".5", auth.ErrSignature},
		{"scope widened", dev, strings.Replace(good, "%2Fdevices%2Fdev1", "", 1), auth.ErrSignature},
		{"policy added", dev, good + "&skn=device", auth.ErrSignature},
		{"escapes in another case than signed", dev, strings.Replace(good, "%2F", "%2f", 1), auth.ErrSignature},
		{"endless", dev, good + "&x=" + strings.Repeat("x", sas.MaxToken), auth.ErrToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := auth.Device(now, credential(tt.s, tt.token), tt.s, realm())
			if tt.cause != nil {
				if got != (causeway.AuthMethod{}) {
					t.Errorf("refused with a method: %+v", got)
				}
				checkRefusal(t, err, tt.cause, tt.token, string(tt.s.Primary), string(tt.s.Secondary))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if parsed, _ := sas.Parse(tt.token); !got.Expires.Equal(parsed.Expiry) {
				t.Errorf("expires %s, the token %s", got.Expires, parsed.Expiry)
			}
		})
	}
}

// No beginning of a token is as good as the whole.
func TestTruncatedToken(t *testing.T) {
	s := subject("dev1", "")
	for _, policy := range []string{"", "device"} {
		whole, path := "", "/devices/dev1"
		if policy == "" {
			whole = token(path, "dev1 1", "")
		} else {
			whole = token(path, "device 1", policy)
		}
		if _, err := auth.Device(now, credential(s, whole), s, realm()); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(whole); i++ {
			if _, err := auth.Device(now, credential(s, whole[:i]), s, realm()); err == nil {
				t.Errorf("accepted: %q", whole[:i])
			}
		}
	}
}

// Nor is one with any bit of its signature changed.
func TestChangedSignature(t *testing.T) {
	s := subject("dev1", "")
	whole, _ := sas.Parse(token("/devices/dev1", "dev1 1", ""))
	sig, err := base64.StdEncoding.DecodeString(whole.Signature)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(sig) * 8 {
		bad := bytes.Clone(sig)
		bad[bit/8] ^= 1 << (bit % 8)
		text := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%s", whole.RawResource, component(base64.StdEncoding.EncodeToString(bad)), whole.RawExpiry)
		_, err := auth.Device(now, credential(s, text), s, realm())
		if !errors.Is(err, auth.ErrSignature) {
			t.Fatalf("bit %d: error %v", bit, err)
		}
	}
}

func TestDeviceWrongHub(t *testing.T) {
	s := subject("dev1", "")
	for _, tt := range []struct {
		host  string
		cause error
	}{
		{host, nil},
		{"HUB.EXAMPLE.COM", nil},
		{"localhost:8883", nil},
		{"", nil},
		{"other.example.com", auth.ErrHost},
		{"hub", auth.ErrHost},
	} {
		cred := credential(s, token("/devices/dev1", "dev1 1", ""))
		cred.Host = tt.host
		_, err := auth.Device(now, cred, s, realm())
		if tt.cause == nil {
			if err != nil {
				t.Errorf("host %q: %v", tt.host, err)
			}
			continue
		}
		checkRefusal(t, err, tt.cause)
	}
}

// A record of another identity than asked for proves nothing, whatever it says.
func TestDeviceWrongSubject(t *testing.T) {
	s := subject("dev1", "")
	for _, id := range []causeway.Identity{{}, {Device: "dev2"}, {Device: "dev1", Module: "m"}} {
		cred := credential(s, token("", "dev1 1", ""))
		cred.Identity = id
		_, err := auth.Device(now, cred, s, realm())
		checkRefusal(t, err, auth.ErrUnknown)
	}
	_, err := auth.Device(now, causeway.Credential{Token: causeway.Secret(token("", "device 1", "device"))}, auth.Subject{}, realm())
	checkRefusal(t, err, auth.ErrUnknown)
}

func TestDeviceRequest(t *testing.T) {
	dev, mod := subject("dev1", ""), subject("dev1", "$edgeHub")
	odd := subject("50%", "")
	cert := certified(t, "dev1")
	tests := []struct {
		name  string
		s     auth.Subject
		cred  causeway.Credential
		path  string
		cause error
	}{
		{"itself", dev, credential(dev, token("/devices/dev1", "dev1 1", "")), "/devices/dev1", nil},
		{"its modules", dev, credential(dev, token("/devices/dev1", "dev1 1", "")), "/devices/dev1/modules", nil},
		{"one of its modules", dev, credential(dev, token("/devices/dev1", "dev1 2", "")), "/devices/dev1/modules/m", nil},
		{"token for the very path", dev, credential(dev, token("/devices/dev1/modules/m", "dev1 1", "")), "/devices/dev1/modules/m", nil},
		{
			"a module, below itself", mod, credential(mod, token("/devices/dev1/modules/$edgeHub", "dev1/$edgeHub 1", "")),
			"/devices/dev1/modules/$edgeHub/devicesAndModulesInDeviceScope", nil,
		},
		{"an id with a percent sign", odd, credential(odd, token("/devices/50%", "50% 1", "")), "/devices/50%/modules", nil},
		{"by certificate", cert.subject, causeway.Credential{Host: host, Identity: cert.subject.ID, Certificates: cert.chain}, "/devices/dev1/modules", nil},
		{"policy", dev, credential(dev, token("", "device 1", "device")), "/devices/dev1/modules", nil},

		{"another device", dev, credential(dev, token("", "dev1 1", "")), "/devices/dev2", auth.ErrScope},
		{"another that begins alike", dev, credential(dev, token("", "dev1 1", "")), "/devices/dev11", auth.ErrScope},
		{"all devices", dev, credential(dev, token("", "dev1 1", "")), "/devices", auth.ErrScope},
		{"twins", dev, credential(dev, token("", "dev1 1", "")), "/twins/dev1", auth.ErrScope},
		{"a module on its device", mod, credential(mod, token("/devices/dev1", "dev1/$edgeHub 1", "")), "/devices/dev1/modules", auth.ErrScope},
		{"by way of dots", dev, credential(dev, token("", "dev1 1", "")), "/devices/dev1/../dev2", auth.ErrScope},
		{"token for another path", dev, credential(dev, token("/devices/dev1/modules/m", "dev1 1", "")), "/devices/dev1/modules/n", auth.ErrScope},
		{"another's key", dev, credential(dev, token("/devices/dev1", "dev2 1", "")), "/devices/dev1/modules", auth.ErrSignature},
		{"another's certificate", cert.subject, causeway.Credential{Host: host, Identity: cert.subject.ID, Certificates: certified(t, "dev1").chain}, "/devices/dev1", auth.ErrCertificate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auth.DeviceRequest(now, tt.cred, tt.path, tt.s, realm())
			if tt.cause == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkRefusal(t, err, tt.cause)
		})
	}
}

func TestClaimOf(t *testing.T) {
	for path, want := range map[string]auth.Claim{
		"":                                  {},
		"/devices":                          {},
		"/devices/dev1":                     {Device: "dev1"},
		"/devices/dev1/":                    {Device: "dev1"},
		"/devices/dev1?api-version=2020":    {Device: "dev1"},
		"/devices/dev1/modules":             {Device: "dev1"},
		"/devices/dev1/modules/$edgeHub":    {Device: "dev1", Module: "$edgeHub"},
		"/devices/dev1/modules/m/more":      {Device: "dev1", Module: "m"},
		"/devices/50%/modules/m":            {Device: "50%", Module: "m"},
		"/twins/dev1":                       {},
		"/devices/dev1/messages/events":     {Device: "dev1"},
		"/devices/dev1/twins/modules/other": {Device: "dev1"},
	} {
		if got, err := auth.ClaimOf(causeway.Secret(token(path, "x", ""))); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", path, got, err, want)
		}
	}
	if got, err := auth.ClaimOf(causeway.Secret(token("", "x", "service"))); err != nil || got != (auth.Claim{Policy: "service"}) {
		t.Errorf("policy: got %+v, %v", got, err)
	}
	_, err := auth.ClaimOf("nonsense")
	checkRefusal(t, err, auth.ErrToken)
}

func TestReason(t *testing.T) {
	if got := auth.Reason(nil); got != "" {
		t.Errorf("nil: %q", got)
	}
	if got := auth.Reason(errors.New("disk")); got != "other" {
		t.Errorf("another error: %q", got)
	}
	if got := auth.Reason(fmt.Errorf("connect: %w", auth.Unauthorized("x", auth.ErrExpired))); got != "expired" {
		t.Errorf("wrapped: %q", got)
	}
}

// What is logged of subjects, policies and credentials holds no key.
func TestNoSecretsInLogs(t *testing.T) {
	var b bytes.Buffer
	s := subject("dev1", "")
	tok := token("/devices/dev1", "dev1 1", "")
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "token", credential(s, tok).Token, "key", s.Primary)
	fmt.Fprintf(&b, "%v %+v %#v %s", s, realm(), credential(s, tok), s.Primary)
	for _, secret := range []string{string(s.Primary), string(s.Secondary), string(secretOf("device 1")), tok} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("a secret is printed: %s", secret)
		}
	}
}

func FuzzDevice(f *testing.F) {
	s := subject("dev1", "")
	good := token("/devices/dev1", "dev1 1", "")
	f.Add(good)
	f.Add(token("", "device 1", "device"))
	f.Add(strings.ToLower(good))
	r := realm()
	f.Fuzz(func(t *testing.T, text string) {
		_, err := auth.Device(now, credential(s, text), s, r)
		if err == nil {
			// Only what carries a right signature can be accepted.
			tok, perr := sas.Parse(text)
			if perr != nil || !tok.Verify(rawOf("dev1 1")) && !tok.Verify(rawOf("device 1")) {
				t.Fatalf("accepted: %q", text)
			}
		} else if causeway.CodeOf(err) != causeway.IotHubUnauthorized {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func BenchmarkDevice(b *testing.B) {
	b.ReportAllocs()
	s, r := subject("dev1", ""), realm()
	cred := credential(s, token("/devices/dev1", "dev1 1", ""))
	for b.Loop() {
		if _, err := auth.Device(now, cred, s, r); err != nil {
			b.Fatal(err)
		}
	}
}
