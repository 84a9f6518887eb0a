package sas_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/sas"
)

var key64 = base64.StdEncoding.EncodeToString(key)

func TestConnectionString(t *testing.T) {
	tests := []struct {
		name, text string
		want       sas.ConnectionString
		resource   string
	}{
		{
			"device", "HostName=hub.example.com;DeviceId=d1;SharedAccessKey=" + key64,
			sas.ConnectionString{HostName: "hub.example.com", DeviceID: "d1", SharedAccessKey: key64},
			"hub.example.com/devices/d1",
		},
		{
			"module behind a gateway", "HostName=hub;DeviceId=d1;ModuleId=m1;SharedAccessKey=" + key64 + ";GatewayHostName=gw",
			sas.ConnectionString{HostName: "hub", DeviceID: "d1", ModuleID: "m1", SharedAccessKey: key64, GatewayHostName: "gw"},
			"hub/devices/d1/modules/m1",
		},
		{
			"certificate", "HostName=hub;DeviceId=d1;x509=true",
			sas.ConnectionString{HostName: "hub", DeviceID: "d1", X509: true},
			"hub/devices/d1",
		},
		{
			"token", "HostName=hub;DeviceId=d1;SharedAccessSignature=SharedAccessSignature sr=a&sig=b%3D&se=1",
			sas.ConnectionString{HostName: "hub", DeviceID: "d1", SharedAccessSignature: "SharedAccessSignature sr=a&sig=b%3D&se=1"},
			"hub/devices/d1",
		},
		{
			"service", "HostName=hub;SharedAccessKeyName=iothubowner;SharedAccessKey=" + key64,
			sas.ConnectionString{HostName: "hub", SharedAccessKeyName: "iothubowner", SharedAccessKey: key64},
			"hub",
		},
		{
			"event hubs", "Endpoint=sb://ns.example.com/;SharedAccessKeyName=service;SharedAccessKey=" + key64 + ";EntityPath=hub",
			sas.ConnectionString{Endpoint: "sb://ns.example.com/", SharedAccessKeyName: "service", SharedAccessKey: key64, EntityPath: "hub"},
			"sb://ns.example.com/hub",
		},
		{
			"event hubs, for tests", "Endpoint=sb://localhost:5672;SharedAccessKeyName=service;SharedAccessKey=k;EntityPath=hub;UseDevelopmentEmulator=true",
			sas.ConnectionString{Endpoint: "sb://localhost:5672", SharedAccessKeyName: "service", SharedAccessKey: "k", EntityPath: "hub", Emulator: true},
			"sb://localhost:5672/hub",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sas.ParseConnectionString(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got  %#v\nwant %#v", got, tt.want)
			}
			if got.String() != tt.text {
				t.Errorf("written %s\nread    %s", got.String(), tt.text)
			}
			if got.Resource() != tt.resource {
				t.Errorf("resource %s, want %s", got.Resource(), tt.resource)
			}
			text, err := got.Token(expiry)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case got.X509:
				if text != "" {
					t.Errorf("token %s of a certificate", text)
				}
			case got.SharedAccessSignature != "":
				if text != got.SharedAccessSignature {
					t.Errorf("token %s is not the given one", text)
				}
			default:
				tok, err := sas.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				k := key
				if got.Endpoint != "" {
					k = []byte(got.SharedAccessKey) // event hubs sign with the text of the key
				}
				if !tok.Verify(k) || tok.Resource != tt.resource || tok.Policy != got.SharedAccessKeyName {
					t.Errorf("token %s", text)
				}
			}
		})
	}
}

func TestConnectionStringLenient(t *testing.T) {
	got, err := sas.ParseConnectionString(" hostname=hub ; DEVICEID=d1;;sharedaccesskey=" + key64 + ";X509=False;")
	want := sas.ConnectionString{HostName: "hub", DeviceID: "d1", SharedAccessKey: key64}
	if err != nil || got != want {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestConnectionStringRefuses(t *testing.T) {
	const secret = "c2VjcmV0"
	for text, mention := range map[string]string{
		"":                                       "HostName",
		"nonsense":                               "part 1",
		"HostName=hub;" + secret:                 "part 2",
		"DeviceId=d;SharedAccessKey=" + secret:   "HostName",
		"HostName=hub;SharedAccessKey=" + secret: "DeviceId",
		"HostName=hub;DeviceId=d":                "SharedAccessKey",
		"HostName=hub;ModuleId=m;SharedAccessKeyName=p;SharedAccessKey=" + secret:        "ModuleId",
		"HostName=hub;HostName=hub;DeviceId=d;SharedAccessKey=" + secret:                 "HostName twice",
		"HostName=hub;DeviceId=d;Password=" + secret:                                     "unknown",
		"HostName=hub;DeviceId=d;x509=" + secret:                                         "x509",
		"HostName=hub;DeviceId=a/b;SharedAccessKey=" + secret:                            "DeviceId",
		"HostName=hub;Endpoint=sb://ns/;SharedAccessKeyName=p;SharedAccessKey=" + secret: "Endpoint",
		"Endpoint=ns;SharedAccessKeyName=p;SharedAccessKey=" + secret:                    "Endpoint",
		"HostName=" + strings.Repeat("h", sas.MaxConnectionString):                       "bytes",
	} {
		_, err := sas.ParseConnectionString(text)
		if err == nil {
			t.Errorf("%.80s: accepted", text)
			continue
		}
		if !strings.Contains(err.Error(), mention) || strings.Contains(err.Error(), secret) {
			t.Errorf("%.80s: error %q should mention %s and no secret", text, err, mention)
		}
	}
	c := sas.ConnectionString{HostName: "hub", DeviceID: "d", SharedAccessKey: "*secret*"}
	if _, err := c.Token(expiry); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("key that is not base64: error %v", err)
	}
}

func TestConnectionStringIsNotLogged(t *testing.T) {
	var b bytes.Buffer
	c := sas.ConnectionString{HostName: "hub", DeviceID: "d1", SharedAccessKey: key64, SharedAccessSignature: "secret"}
	slog.New(slog.NewTextHandler(&b, nil)).Info("connect", "with", c)
	if s := b.String(); strings.Contains(s, key64) || strings.Contains(s, "secret") || !strings.Contains(s, "DeviceId=d1") {
		t.Errorf("logged %s", s)
	}
	if c.SharedAccessKey != key64 {
		t.Error("logging changed the connection string")
	}
}

func FuzzParseConnectionString(f *testing.F) {
	f.Add("HostName=hub;DeviceId=d1;ModuleId=m1;SharedAccessKey=a2V5;GatewayHostName=gw")
	f.Add("Endpoint=sb://ns/;SharedAccessKeyName=p;SharedAccessKey=k;EntityPath=e;UseDevelopmentEmulator=true")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := sas.ParseConnectionString(s)
		if err != nil {
			return
		}
		again, err := sas.ParseConnectionString(c.String())
		if err != nil || strings.TrimSpace(again.String()) != strings.TrimSpace(c.String()) {
			t.Errorf("%q: first %#v, second %#v, %v", s, c, again, err)
		}
	})
}
