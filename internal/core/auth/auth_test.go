package auth_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

const host = "hub.example.com"

// now is the time of all decisions in these tests.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// key returns a key that is different for each name, and its base64 text.
func key(name string) ([]byte, causeway.Secret) {
	sum := sha256.Sum256([]byte(name))
	return sum[:], causeway.Secret(base64.StdEncoding.EncodeToString(sum[:]))
}

func secretOf(name string) causeway.Secret { _, s := key(name); return s }

func rawOf(name string) []byte { b, _ := key(name); return b }

// subject is an identity with keys named after it.
func subject(device, module string) auth.Subject {
	id := causeway.Identity{Hub: "hub", Device: device, Module: module}
	return auth.Subject{ID: id, Type: auth.SAS, Primary: secretOf(id.String() + " 1"), Secondary: secretOf(id.String() + " 2")}
}

func realm() auth.Realm {
	policy := func(name string, r auth.Rights) auth.Policy {
		return auth.Policy{Name: name, Primary: secretOf(name + " 1"), Secondary: secretOf(name + " 2"), Rights: r}
	}
	return auth.Realm{
		Hosts: []string{host, "localhost"},
		Policies: []auth.Policy{
			policy("iothubowner", auth.AllRights), policy("service", auth.ServiceConnect), policy("device", auth.DeviceConnect),
			policy("registryRead", auth.RegistryRead),
			{Name: "broken", Primary: "*", Rights: auth.AllRights},
			{Name: "keyless", Rights: auth.AllRights},
		},
	}
}

func credential(s auth.Subject, token string) causeway.Credential {
	return causeway.Credential{Host: host, Identity: s.ID, Token: causeway.Secret(token)}
}

// token signs for path on the hub for another hour.
func token(path, keyName, policy string) string {
	return sas.Sign(host+path, rawOf(keyName), policy, now.Add(time.Hour))
}

// hash is base64(HMAC-SHA256(key, sr + "\n" + se)).
func hash(k []byte, sr, se string) string {
	h := hmac.New(sha256.New, k)
	fmt.Fprintf(h, "%s\n%s", sr, se)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// sdk makes tokens the way one of the client libraries does.
type sdk struct {
	name string
	make func(resource string, k []byte, policy string, se int64) string
}

// component is encodeURIComponent of ECMAScript.
func component(s string) string {
	return strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(s))
}

// lower turns percent escapes to lower case.
func lower(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

var sdks = []sdk{
	{"Node", func(resource string, k []byte, policy string, se int64) string {
		sr := component(resource)
		t := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d", sr, component(hash(k, sr, fmt.Sprint(se))), se)
		if policy != "" {
			t = fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&skn=%s&se=%d", sr, component(hash(k, sr, fmt.Sprint(se))), component(policy), se)
		}
		return t
	}},
	{"Node, id escaped on its own first", func(resource string, k []byte, policy string, se int64) string {
		parts := strings.Split(resource, "/")
		for i := range parts {
			parts[i] = component(parts[i])
		}
		return sas.Sign(strings.Join(parts, "/"), k, policy, time.Unix(se, 0))
	}},
	{"Python", func(resource string, k []byte, policy string, se int64) string {
		sr := url.QueryEscape(resource)
		sig := strings.NewReplacer("+", "%2B", "=", "%3D").Replace(hash(k, sr, fmt.Sprint(se))) // quote() leaves '/'
		t := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d", sr, sig, se)
		if policy != "" {
			t += "&skn=" + policy
		}
		return t
	}},
	{"C#", func(resource string, k []byte, policy string, se int64) string {
		sr := lower(component(resource))
		t := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d", sr, lower(component(hash(k, sr, fmt.Sprint(se)))), se)
		if policy != "" {
			t += "&skn=" + component(policy)
		}
		return t
	}},
	{"Java", func(resource string, k []byte, policy string, se int64) string {
		sr := component(resource)
		t := fmt.Sprintf("SharedAccessSignature sig=%s&se=%d&sr=%s", component(hash(k, sr, fmt.Sprint(se))), se, sr)
		if policy != "" {
			t = fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=%s", sr, component(hash(k, sr, fmt.Sprint(se))), se, policy)
		}
		return t
	}},
	{"C", func(resource string, k []byte, policy string, se int64) string {
		sr := lower(component(resource))
		return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=%s", sr, lower(component(hash(k, sr, fmt.Sprint(se)))), se, policy)
	}},
	{"signed before escaping", func(resource string, k []byte, policy string, se int64) string {
		return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=%s", component(resource), component(hash(k, resource, fmt.Sprint(se))), se, policy)
	}},
}

// checkRefusal checks that err has the cause wanted, and that the client learns
// nothing but that it is refused.
func checkRefusal(t *testing.T, err, cause error, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	if auth.Reason(err) != auth.Reason(cause) {
		t.Errorf("refused because of %q (%v), want %q", auth.Reason(err), err, auth.Reason(cause))
	}
	same := auth.Unauthorized("x", auth.ErrUnknown)
	if causeway.CodeOf(err) != causeway.IotHubUnauthorized || causeway.MessageOf(err) != causeway.MessageOf(same) {
		t.Errorf("client is told %d %q", causeway.CodeOf(err), causeway.MessageOf(err))
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("the log is told a secret: %v", err)
		}
	}
}

func TestTokensOfSDKs(t *testing.T) {
	ids := []struct{ device, module string }{
		{"dev1", ""},
		{"dev1", "mod1"},
		{"dev1", "$edgeHub"},
		{"a%b", ""},
		{"50%25", ""},
		{"a#b?c=d", "m,(*)!'"},
		{"a+b@c$d:e;f", ""},
		{"x?api-version=1", ""},
	}
	se := now.Add(time.Hour)
	for _, sdk := range sdks {
		for _, id := range ids {
			s := subject(id.device, id.module)
			scope := causeway.ScopeDevice
			if id.module != "" {
				scope = causeway.ScopeModule
			}
			resource := sas.DeviceResource(host, id.device, id.module)
			for _, which := range []string{" 1", " 2"} { // primary, secondary
				t.Run(sdk.name+"/"+url.PathEscape(s.ID.String())+which, func(t *testing.T) {
					got, err := auth.Device(now, credential(s, sdk.make(resource, rawOf(s.ID.String()+which), "", se.Unix())), s, realm())
					if want := (causeway.AuthMethod{Scope: scope, Type: "sas", Expires: se}); err != nil || got != want {
						t.Errorf("own key: got %+v, %v, want %+v", got, err, want)
					}
					got, err = auth.Device(now, credential(s, sdk.make(resource, rawOf("device"+which), "device", se.Unix())), s, realm())
					if want := (causeway.AuthMethod{Scope: causeway.ScopeHub, Type: "sas", Expires: se, Grounds: got.Grounds}); got.Grounds == "" || err != nil || got != want {
						t.Errorf("policy: got %+v, %v, want %+v", got, err, want)
					}
					grant, err := auth.Service(now, causeway.Secret(sdk.make(host, rawOf("service"+which), "service", se.Unix())), host, "/twins/"+id.device, realm())
					if want := (auth.Grant{Policy: "service", Rights: auth.ServiceConnect, Expires: se}); err != nil || grant != want {
						t.Errorf("service: got %+v, %v, want %+v", grant, err, want)
					}
				})
			}
		}
	}
}
