package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// textToken signs with the text of a key, as clients of Event Hubs do.
func textToken(resource, keyName, policy string) string {
	return sas.Sign(resource, []byte(secretOf(keyName)), policy, now.Add(time.Hour))
}

func TestEvents(t *testing.T) {
	const partition = "/hub/ConsumerGroups/$Default/Partitions/0"
	tests := []struct {
		name, token, path string
		cause             error
	}{
		{"partition", textToken("sb://"+host+partition, "service 1", "service"), partition, nil},
		{"entity", textToken("sb://"+host+"/hub", "service 2", "service"), partition, nil},
		{"entity, trailing slash", textToken("sb://"+host+"/hub/", "service 1", "service"), partition, nil},
		{"namespace", textToken("sb://"+host+"/", "service 1", "service"), partition, nil},
		{"namespace, no slash", textToken("sb://"+host, "service 1", "service"), partition, nil},
		{"port", textToken("sb://"+host+":5671/hub", "service 1", "service"), partition, nil},
		{"no scheme", textToken(host+"/hub", "service 1", "service"), partition, nil},
		{"amqps", textToken("amqps://"+host+"/hub", "service 1", "service"), partition, nil},
		{"https", textToken("https://"+host, "service 1", "service"), partition, nil},
		{"case", textToken("sb://"+strings.ToUpper(host)+"/HUB/consumergroups/$default", "service 1", "service"), partition, nil},
		{"escaped twice", textToken("sb%3A%2F%2F"+host+"%2Fhub", "service 1", "service"), partition, nil},
		{"management", textToken("sb://"+host+"/hub/$management", "service 1", "service"), "/hub/$management", nil},
		{"alias", textToken("sb://localhost/hub", "service 1", "service"), partition, nil},
		{"decoded key", sas.Sign("sb://"+host+"/hub", rawOf("service 1"), "service", now.Add(time.Hour)), partition, nil},
		{"whole end point", textToken("sb://"+host, "service 1", "service"), "", nil},

		{"another partition", textToken("sb://"+host+partition, "service 1", "service"), "/hub/ConsumerGroups/$Default/Partitions/1", auth.ErrScope},
		{"partition for the end point", textToken("sb://"+host+partition, "service 1", "service"), "", auth.ErrScope},
		{"another entity", textToken("sb://"+host+"/other", "service 1", "service"), partition, auth.ErrScope},
		{"half a segment", textToken("sb://"+host+"/hu", "service 1", "service"), partition, auth.ErrScope},
		{"dots", textToken("sb://"+host+"/hub/x", "service 1", "service"), "/hub/x/../y", auth.ErrScope},
		{"another host", textToken("sb://other.example.com/hub", "service 1", "service"), partition, auth.ErrScope},
		{"key of another policy", textToken("sb://"+host, "device 1", "service"), partition, auth.ErrSignature},
		{"no policy", textToken("sb://"+host, "service 1", ""), partition, auth.ErrPolicy},
		{"unknown policy", textToken("sb://"+host, "service 1", "x"), partition, auth.ErrPolicy},
		{"empty key", sas.Sign("sb://"+host, nil, "keyless", now.Add(time.Hour)), partition, auth.ErrSignature},
		{"expired", sas.Sign("sb://"+host, []byte(secretOf("service 1")), "service", now.Add(-causeway.TokenSkew)), partition, auth.ErrExpired},
		{"nonsense", "Bearer abc", partition, auth.ErrToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := auth.Events(now, causeway.Secret(tt.token), host, tt.path, realm())
			if tt.cause != nil {
				checkRefusal(t, err, tt.cause, tt.token)
				return
			}
			if err != nil || got.Policy != "service" || got.Rights != auth.ServiceConnect || !got.Expires.Equal(now.Add(time.Hour)) {
				t.Errorf("got %+v, %v", got, err)
			}
			first, err := auth.EventsToken(now, causeway.Secret(tt.token), host, realm())
			if err != nil || !first.Covers(tt.path) || first != got {
				t.Errorf("token by itself: %+v, %v", first, err)
			}
		})
	}
	if _, err := auth.Events(now, causeway.Secret(textToken("sb://"+host, "service 1", "service")), "other", "", realm()); auth.Reason(err) != "host" {
		t.Errorf("unknown host: %v", err)
	}
	// A hub does not take what only Event Hubs clients sign with.
	if _, err := auth.Service(now, causeway.Secret(textToken(host, "service 1", "service")), host, "/", realm()); auth.Reason(err) != "signature" {
		t.Errorf("text of the key at the hub: %v", err)
	}
}

func TestCovers(t *testing.T) {
	g, err := auth.ServiceToken(now, causeway.Secret(token("/messages/events", "service 1", "service")), host, realm())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/messages/events": true, "messages/Events/": true, "/messages/events/ConsumerGroups/x": true,
		"": false, "/": false, "/messages": false, "/messages/eventsx": false, "/messages/events/../x": false,
	} {
		if g.Covers(path) != want {
			t.Errorf("Covers(%q) is %v", path, !want)
		}
	}
	if g, err = auth.ServiceToken(now, "", host, realm()); causeway.MessageOf(err) != "Authorization header missing" || g != (auth.Grant{}) {
		t.Errorf("no token: %+v, %v", g, err)
	}
}

func TestEventsKey(t *testing.T) {
	for _, k := range []string{"service 1", "service 2"} {
		g, err := auth.EventsKey("service", secretOf(k), realm())
		if err != nil || g != (auth.Grant{Policy: "service", Rights: auth.ServiceConnect}) || !g.Covers("/hub/x") || !g.Covers("") {
			t.Errorf("%s: %+v, %v", k, g, err)
		}
	}
	for _, tt := range []struct {
		policy string
		key    causeway.Secret
		cause  error
	}{
		{"service", secretOf("device 1"), auth.ErrSignature},
		{"service", secretOf("service 1")[:10], auth.ErrSignature},
		{"service", causeway.Secret(rawOf("service 1")), auth.ErrSignature},
		{"service", "", auth.ErrNoProof},
		{"keyless", "", auth.ErrNoProof},
		{"keyless", "sesame", auth.ErrSignature},
		{"nobody", secretOf("service 1"), auth.ErrPolicy},
		{"", secretOf("service 1"), auth.ErrPolicy},
	} {
		_, err := auth.EventsKey(tt.policy, tt.key, realm())
		checkRefusal(t, err, tt.cause, string(tt.key))
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(textToken("sb://"+host+"/hub", "service 1", "service"), "/hub/x")
	f.Add(token("", "service 1", "service"), "")
	r := realm()
	f.Fuzz(func(t *testing.T, text, path string) {
		_, err := auth.Events(now, causeway.Secret(text), host, path, r)
		if err != nil {
			if causeway.CodeOf(err) != causeway.IotHubUnauthorized {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		tok, perr := sas.Parse(text)
		if perr != nil || !tok.Verify(rawOf("service 1")) && !tok.Verify([]byte(secretOf("service 1"))) {
			t.Fatalf("accepted: %q", text)
		}
	})
}
