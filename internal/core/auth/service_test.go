package auth_test

import (
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestService(t *testing.T) {
	expires := now.Add(time.Hour)
	tests := []struct {
		name       string
		token      string
		host, path string
		policy     string
		cause      error
	}{
		{"owner", token("", "iothubowner 1", "iothubowner"), host, "/devices/dev1", "iothubowner", nil},
		{"secondary key", token("", "service 2", "service"), host, "/twins/dev1", "service", nil},
		{"connection about the hub", token("", "service 1", "service"), host, "", "service", nil},
		{"root", token("", "service 1", "service"), host, "/", "service", nil},
		{"path without its slash", token("/devices", "service 1", "service"), host, "devices/dev1", "service", nil},
		{"trailing slash", token("/devices", "registryRead 1", "registryRead"), host, "/devices/", "registryRead", nil},
		{"narrow scope", token("/messages/events", "service 1", "service"), host, "/messages/events/ConsumerGroups/x", "service", nil},
		{"paths have no case", token("/Messages/Events", "service 1", "service"), host, "/messages/events", "service", nil},
		{"alias of the host", token("", "service 1", "service"), "LOCALHOST:8443", "/twins/dev1", "service", nil},
		{"token for an alias", sas.Sign("localhost", rawOf("service 1"), "service", expires), host, "/twins/dev1", "service", nil},
		{"scheme in the resource", sas.Sign("https://"+host, rawOf("service 1"), "service", expires), host, "/twins/dev1", "service", nil},
		{"an id with a percent sign", token("/twins/50%", "service 1", "service"), host, "/twins/50%", "service", nil},
		{"an id escaped on its own", token("/twins/50%25", "service 1", "service"), host, "/twins/50%", "service", nil},
		{"clock slow", sas.Sign(host, rawOf("service 1"), "service", now.Add(time.Second-causeway.TokenSkew)), host, "/", "service", nil},

		{"out of scope", token("/messages/events", "service 1", "service"), host, "/twins/dev1", "", auth.ErrScope},
		{"scope longer than the path", token("/devices/dev1", "service 1", "service"), host, "/devices", "", auth.ErrScope},
		{"half a segment", token("/device", "service 1", "service"), host, "/devices", "", auth.ErrScope},
		{"by way of dots", token("/devices/dev1", "service 1", "service"), host, "/devices/dev1/../dev2", "", auth.ErrScope},
		{"another hub's name", token("", "service 1", "service"), "other.example.com", "/", "", auth.ErrHost},
		{"token for another hub", sas.Sign("other.example.com", rawOf("service 1"), "service", expires), host, "/", "", auth.ErrScope},
		{"expired", sas.Sign(host, rawOf("service 1"), "service", now.Add(-causeway.TokenSkew)), host, "/", "", auth.ErrExpired},
		{"key of another policy", token("", "device 1", "service"), host, "/", "", auth.ErrSignature},
		{"key of a device", token("/devices/dev1", "dev1 1", ""), host, "/devices/dev1", "", auth.ErrPolicy},
		{"unknown policy", token("", "service 1", "nobody"), host, "/", "", auth.ErrPolicy},
		{"policy without keys", sas.Sign(host, nil, "keyless", expires), host, "/", "", auth.ErrSignature},
		{"not a token", "Bearer abc", host, "/", "", auth.ErrToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := auth.Service(now, causeway.Secret(tt.token), tt.host, tt.path, realm())
			if tt.cause != nil {
				if got != (auth.Grant{}) {
					t.Errorf("refused with a grant: %+v", got)
				}
				checkRefusal(t, err, tt.cause, tt.token)
				return
			}
			if err != nil || got.Policy != tt.policy || got.Rights == 0 || got.Expires.IsZero() {
				t.Errorf("got %+v, %v, want policy %s", got, err, tt.policy)
			}
		})
	}
	_, err := auth.Service(now, "", host, "/", realm())
	if causeway.CodeOf(err) != causeway.IotHubUnauthorized || causeway.MessageOf(err) != "Authorization header missing" || auth.Reason(err) != "no-proof" {
		t.Errorf("no token: %v", err)
	}
}

func TestRights(t *testing.T) {
	for r, want := range map[auth.Rights]string{
		0:                                      "",
		auth.ServiceConnect:                    "ServiceConnect",
		auth.RegistryRead | auth.DeviceConnect: "RegistryRead, DeviceConnect",
		auth.AllRights:                         "RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect",
	} {
		if r.String() != want {
			t.Errorf("%d: %q, want %q", r, r.String(), want)
		}
	}
	if !auth.AllRights.Has(auth.ServiceConnect) || auth.ServiceConnect.Has(auth.ServiceConnect|auth.DeviceConnect) {
		t.Error("Has is not a subset")
	}
}
