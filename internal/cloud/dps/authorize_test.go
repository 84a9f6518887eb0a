package dps_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestAuthorize(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	i := dps.Instance{Name: "s", Hosts: []string{"dps.example", "other.example"}, Policies: []dps.AccessPolicy{
		{Name: "reader", Primary: key("p"), Secondary: key("s"), Rights: dps.EnrollmentRead},
		{Name: "writer", Primary: key("w"), Secondary: key("x"), Rights: dps.EnrollmentWrite | dps.RegistrationStatusWrite},
	}}
	token := func(host, policy string, k causeway.Secret, expiry time.Time) causeway.Secret {
		b, err := base64.StdEncoding.DecodeString(string(k))
		ok(t, err)
		return causeway.Secret(sas.Sign(host, b, policy, expiry))
	}
	later := now.Add(time.Hour)
	for what, c := range map[string]struct {
		token causeway.Secret
		right dps.Rights
		code  causeway.Code
	}{
		"primary":           {token("dps.example", "reader", key("p"), later), dps.EnrollmentRead, 0},
		"secondary":         {token("OTHER.example", "reader", key("s"), later), dps.EnrollmentRead, 0},
		"with a path":       {token("dps.example/enrollments", "reader", key("p"), later), dps.EnrollmentRead, 0},
		"write includes":    {token("dps.example", "writer", key("w"), later), dps.EnrollmentRead, 0},
		"status too":        {token("dps.example", "writer", key("w"), later), dps.RegistrationStatusRead, 0},
		"lacks the right":   {token("dps.example", "reader", key("p"), later), dps.EnrollmentWrite, dps.CodeForbidden},
		"another right":     {token("dps.example", "reader", key("p"), later), dps.RegistrationStatusRead, dps.CodeForbidden},
		"a wrong key":       {token("dps.example", "reader", key("w"), later), dps.EnrollmentRead, dps.CodeUnauthorized},
		"an unknown policy": {token("dps.example", "nobody", key("p"), later), dps.EnrollmentRead, dps.CodeUnauthorized},
		"no policy":         {token("dps.example", "", key("p"), later), dps.EnrollmentRead, dps.CodeUnauthorized},
		"another host":      {token("dps.example.org", "reader", key("p"), later), dps.EnrollmentRead, dps.CodeUnauthorized},
		"expired":           {token("dps.example", "reader", key("p"), now.Add(-time.Hour)), dps.EnrollmentRead, dps.CodeUnauthorized},
		"nothing":           {"", dps.EnrollmentRead, dps.CodeUnauthorized},
	} {
		who, err := i.Authorize(now, c.token, c.right)
		if causeway.CodeOf(err) != c.code || (err == nil) != (who != "") {
			t.Errorf("%s: %q, %v; want code %d", what, who, err, int(c.code))
		}
	}
	if cs, ok := i.ConnectionString("reader"); !ok || !strings.HasPrefix(cs, "HostName=dps.example;SharedAccessKeyName=reader;SharedAccessKey=") {
		t.Errorf("connection string %q", cs)
	}
	if _, ok := i.ConnectionString("nobody"); ok {
		t.Error("a connection string of no policy")
	}
}

func key(fill string) causeway.Secret {
	return causeway.Secret(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))))
}
