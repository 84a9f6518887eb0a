package sas

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// MaxConnectionString bounds the length of a connection string that is read, in
// bytes.
const MaxConnectionString = 8 << 10

// ConnectionString is the text users configure clients with: a list of key=value
// pairs separated by semicolons. Its forms are
//
//	device       HostName=…;DeviceId=…;SharedAccessKey=…
//	module       HostName=…;DeviceId=…;ModuleId=…;SharedAccessKey=…
//	certificate  HostName=…;DeviceId=…[;ModuleId=…];x509=true
//	service      HostName=…;SharedAccessKeyName=…;SharedAccessKey=…
//	event hubs   Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…
//
// with SharedAccessSignature in place of SharedAccessKey where a token was made
// in advance. It holds secrets: String returns them, a log shows none.
type ConnectionString struct {
	HostName              string
	Endpoint              string // event hubs: sb://{host}/
	DeviceID              string
	ModuleID              string
	SharedAccessKeyName   string
	SharedAccessKey       string // base64
	SharedAccessSignature string
	X509                  bool
	GatewayHostName       string // where to connect instead of HostName
	EntityPath            string // event hubs: name of the event hub
	Emulator              bool   // event hubs: plain TCP, for tests
}

// pair is one key of a connection string and where its value belongs.
type pair struct {
	key  string
	text *string
	flag *bool
}

// pairs lists the keys in the order they are written. Clients refuse keys they
// do not know, so there are no others.
func (c *ConnectionString) pairs() [11]pair {
	return [...]pair{
		{key: "HostName", text: &c.HostName},
		{key: "Endpoint", text: &c.Endpoint},
		{key: "DeviceId", text: &c.DeviceID},
		{key: "ModuleId", text: &c.ModuleID},
		{key: "SharedAccessKeyName", text: &c.SharedAccessKeyName},
		{key: "SharedAccessKey", text: &c.SharedAccessKey},
		{key: "SharedAccessSignature", text: &c.SharedAccessSignature},
		{key: "x509", flag: &c.X509},
		{key: "GatewayHostName", text: &c.GatewayHostName},
		{key: "EntityPath", text: &c.EntityPath},
		{key: "UseDevelopmentEmulator", flag: &c.Emulator},
	}
}

// ParseConnectionString reads a connection string in any order of keys, whose
// case does not matter. Its errors name the key at fault, never a value.
func ParseConnectionString(s string) (ConnectionString, error) {
	if len(s) > MaxConnectionString {
		return ConnectionString{}, fmt.Errorf("connection string of %d bytes, at most %d are accepted", len(s), MaxConnectionString)
	}
	var c ConnectionString
	known := c.pairs()
	var seen [len(known)]bool
	n := 0
	for item := range strings.SplitSeq(s, ";") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		n++
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			return ConnectionString{}, fmt.Errorf("part %d of the connection string is not key=value", n)
		}
		i := 0
		for i < len(known) && !strings.EqualFold(known[i].key, key) {
			i++
		}
		switch {
		case i == len(known):
			return ConnectionString{}, fmt.Errorf("part %d of the connection string has an unknown key", n)
		case seen[i]:
			return ConnectionString{}, fmt.Errorf("connection string has %s twice", known[i].key)
		}
		seen[i] = true
		if known[i].text != nil {
			*known[i].text = value
			continue
		}
		switch {
		case strings.EqualFold(value, "true"):
			*known[i].flag = true
		case !strings.EqualFold(value, "false"):
			return ConnectionString{}, fmt.Errorf("%s of the connection string is neither true nor false", known[i].key)
		}
	}
	return c, c.check()
}

// check refuses what could not be used for anything.
func (c *ConnectionString) check() error {
	switch {
	case c.HostName == "" && c.Endpoint == "":
		return errors.New("connection string has no HostName")
	case c.HostName != "" && c.Endpoint != "":
		return errors.New("connection string has both HostName and Endpoint; the first is for a hub, the second for its event endpoint")
	case c.ModuleID != "" && c.DeviceID == "":
		return errors.New("connection string has a ModuleId but no DeviceId")
	case c.Endpoint != "" && c.Host() == "":
		return errors.New("Endpoint of the connection string is not sb://{host}/")
	case c.DeviceID == "" && !c.Emulator && c.SharedAccessKeyName == "" && c.SharedAccessSignature == "":
		return errors.New("connection string has neither DeviceId nor SharedAccessKeyName")
	case c.SharedAccessKey == "" && c.SharedAccessSignature == "" && !c.X509:
		return errors.New("connection string has no SharedAccessKey")
	case strings.ContainsAny(c.DeviceID+c.ModuleID, "/;"):
		return errors.New("DeviceId or ModuleId of the connection string has a character that ids cannot have")
	}
	return nil
}

// String returns the connection string, secrets included.
func (c ConnectionString) String() string {
	var b strings.Builder
	for _, p := range c.pairs() {
		var value string
		switch {
		case p.text != nil:
			value = *p.text
		case *p.flag:
			value = "true"
		}
		if value == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		b.WriteString(p.key)
		b.WriteByte('=')
		b.WriteString(value)
	}
	return b.String()
}

// LogValue shows everything but the secrets.
func (c ConnectionString) LogValue() slog.Value {
	for _, s := range []*string{&c.SharedAccessKey, &c.SharedAccessSignature} {
		if *s != "" {
			*s = "REDACTED"
		}
	}
	return slog.StringValue(c.String())
}

// Host returns the host name the connection string is about: HostName, or the
// host of Endpoint.
func (c ConnectionString) Host() string {
	if c.HostName != "" {
		return c.HostName
	}
	_, rest, ok := strings.Cut(c.Endpoint, "://")
	if !ok {
		return ""
	}
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// Resource returns what a token made from the connection string is for:
// {host}/devices/{d}[/modules/{m}], the bare host for a policy, and
// sb://{host}/{entity} for an event hub.
func (c ConnectionString) Resource() string {
	switch {
	case c.Endpoint != "":
		return strings.TrimSuffix("sb://"+c.Host()+"/"+c.EntityPath, "/")
	case c.DeviceID == "":
		return c.HostName
	}
	return DeviceResource(c.HostName, c.DeviceID, c.ModuleID)
}

// DeviceResource returns {host}/devices/{d}, or {host}/devices/{d}/modules/{m}
// when module is not "".
func DeviceResource(host, device, module string) string {
	if module == "" {
		return host + "/devices/" + device
	}
	return host + "/devices/" + device + "/modules/" + module
}

// Token returns a token that is good until expiry: a new one signed with the
// key, or the one that the connection string holds ready. It is "" for
// certificates.
//
// The key is base64 of what signs, except for event hubs, where its text does.
func (c ConnectionString) Token(expiry time.Time) (string, error) {
	if c.SharedAccessSignature != "" || c.SharedAccessKey == "" {
		return c.SharedAccessSignature, nil
	}
	key := []byte(c.SharedAccessKey)
	if c.Endpoint == "" {
		var err error
		if key, err = base64.StdEncoding.DecodeString(c.SharedAccessKey); err != nil {
			return "", errors.New("SharedAccessKey of the connection string is not base64")
		}
	}
	return Sign(c.Resource(), key, c.SharedAccessKeyName, expiry), nil
}
