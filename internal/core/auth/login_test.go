package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/auth"
)

func TestParseLogin(t *testing.T) {
	tests := []struct {
		user string
		want auth.Login
		ok   bool
	}{
		{"service@sas.root.plant", auth.Login{Policy: "service", Hub: "plant"}, true},
		{"service@sas.root.plant.example.com", auth.Login{Policy: "service", Hub: "plant.example.com"}, true},
		{"dev1@sas.plant", auth.Login{Device: "dev1", Hub: "plant"}, true},
		{"a@b@sas.plant", auth.Login{Device: "a@b", Hub: "plant"}, true},
		{"dev1/modules/mod1@sas.plant", auth.Login{Device: "dev1", Module: "mod1", Hub: "plant"}, true},
		{"dev1/modules/$edgeHub@sas.plant", auth.Login{Device: "dev1", Module: "$edgeHub", Hub: "plant"}, true},
		{"dev1@plant", auth.Login{Device: "dev1", Hub: "plant"}, true},
		{"dev1/modules/mod1@plant", auth.Login{Device: "dev1", Module: "mod1", Hub: "plant"}, true},
		{"service", auth.Login{Policy: "service"}, true},

		{"", auth.Login{}, false},
		{"@", auth.Login{}, false},
		{"@sas.plant", auth.Login{}, false},
		{"@sas.root.plant", auth.Login{}, false},
		{"dev1@", auth.Login{}, false},
		{"dev1@sas.", auth.Login{}, false},
		{"service@sas.root.", auth.Login{}, false},
		{"dev1/modules/@sas.plant", auth.Login{}, false},
		{"/modules/mod1@sas.plant", auth.Login{}, false},
		{"dev1/mod1@sas.plant", auth.Login{}, false},
		{"dev1/modules/a/b@sas.plant", auth.Login{}, false},
		{"dev1/modules/mod1@sas.root.plant", auth.Login{}, false},
		{"dev1@sas.plant/x", auth.Login{}, false},
		{"a/b", auth.Login{}, false},
		{strings.Repeat("d", auth.MaxLogin) + "@sas.plant", auth.Login{}, false},
	}
	for _, tt := range tests {
		got, err := auth.ParseLogin(tt.user)
		if got != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, auth.ErrLogin) {
			t.Errorf("ParseLogin(%.60q) = %+v, %v; want %+v", tt.user, got, err, tt.want)
		}
	}
}

func FuzzParseLogin(f *testing.F) {
	f.Add("service@sas.root.plant")
	f.Add("dev1/modules/mod1@sas.plant")
	f.Add("a@b@plant")
	f.Fuzz(func(t *testing.T, user string) {
		l, err := auth.ParseLogin(user)
		if err != nil {
			if l != (auth.Login{}) || !errors.Is(err, auth.ErrLogin) {
				t.Fatalf("%q: %+v, %v", user, l, err)
			}
			return
		}
		if (l.Policy == "") == (l.Device == "") || l.Module != "" && l.Device == "" || l.Device != "" && l.Hub == "" {
			t.Fatalf("%q: %+v", user, l)
		}
		if !strings.HasPrefix(user, l.Policy+l.Device) || !strings.HasSuffix(user, l.Hub) || !strings.Contains(user, l.Module) {
			t.Fatalf("%q: %+v is not what it says", user, l)
		}
	})
}
