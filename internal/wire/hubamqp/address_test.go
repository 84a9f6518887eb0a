package hubamqp_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

func TestParseAddress(t *testing.T) {
	type A = hubamqp.Address
	for in, want := range map[string]A{
		"$cbs":                                {Kind: hubamqp.KindCBS},
		"/$cbs":                               {Kind: hubamqp.KindCBS},
		"/$CBS/":                              {Kind: hubamqp.KindCBS},
		"amqps://hub.example.com/$cbs":        {Kind: hubamqp.KindCBS, Host: "hub.example.com"},
		"amqps://hub.example.com:5671/$cbs":   {Kind: hubamqp.KindCBS, Host: "hub.example.com"},
		"amqps://[::1]:5671/$cbs":             {Kind: hubamqp.KindCBS, Host: "[::1]"},
		"/devices/dev1/messages/events":       {Kind: hubamqp.KindTelemetry, Device: "dev1"},
		"devices/dev1/messages/events":        {Kind: hubamqp.KindTelemetry, Device: "dev1"},
		"/devices/dev1/messages/events/":      {Kind: hubamqp.KindTelemetry, Device: "dev1"},
		"/Devices/Dev1/Messages/Events":       {Kind: hubamqp.KindTelemetry, Device: "Dev1"},
		"/devices/a%20b%2525/messages/events": {Kind: hubamqp.KindTelemetry, Device: "a b%25"},
		"/devices/a%/messages/events":         {Kind: hubamqp.KindTelemetry, Device: "a%"},
		"/devices/d/modules/m/messages/events": {
			Kind: hubamqp.KindTelemetry, Device: "d", Module: "m",
		},
		"/devices/d/modules/%24edgeHub/messages/events": {Kind: hubamqp.KindTelemetry, Device: "d", Module: "$edgeHub"},
		"amqps://Hub.Example.com:5671/devices/d/messages/events": {
			Kind: hubamqp.KindTelemetry, Host: "hub.example.com", Device: "d",
		},
		"/devices/d/messages/devicebound":                       {Kind: hubamqp.KindCommands, Device: "d"},
		"/devices/d/messages/deviceBound":                       {Kind: hubamqp.KindCommands, Device: "d"},
		"/devices/d/modules/m/messages/deviceBound":             {Kind: hubamqp.KindCommands, Device: "d", Module: "m"},
		"/devices/d/methods/devicebound":                        {Kind: hubamqp.KindMethods, Device: "d"},
		"/devices/d/modules/m/methods/deviceBound":              {Kind: hubamqp.KindMethods, Device: "d", Module: "m"},
		"/devices/d/twin":                                       {Kind: hubamqp.KindTwin, Device: "d"},
		"/devices/d/twin/":                                      {Kind: hubamqp.KindTwin, Device: "d"},
		"/devices/d/modules/m/twin":                             {Kind: hubamqp.KindTwin, Device: "d", Module: "m"},
		"/devices/modules/messages/events":                      {Kind: hubamqp.KindTelemetry, Device: "modules"},
		"/devices/devices/modules/modules/twin":                 {Kind: hubamqp.KindTwin, Device: "devices", Module: "modules"},
		"/messages/devicebound":                                 {Kind: hubamqp.KindServiceCommands},
		"/messages/deviceBound":                                 {Kind: hubamqp.KindServiceCommands},
		"amqps://h:5671/messages/deviceBound":                   {Kind: hubamqp.KindServiceCommands, Host: "h"},
		"/messages/serviceBound/feedback":                       {Kind: hubamqp.KindFeedback},
		"/messages/servicebound/Feedback":                       {Kind: hubamqp.KindFeedback},
		"/messages/serviceBound/filenotifications":              {Kind: hubamqp.KindFileNotifications},
		"messages/servicebound/fileNotifications":               {Kind: hubamqp.KindFileNotifications},
		"messages/events":                                       {Kind: hubamqp.KindRedirect},
		"messages/events/":                                      {Kind: hubamqp.KindRedirect},
		"/messages/events/$management":                          {Kind: hubamqp.KindRedirect, Tail: "$management"},
		"/Messages/Events/ConsumerGroups/$Default/Partitions/0": {Kind: hubamqp.KindRedirect, Tail: "ConsumerGroups/$Default/Partitions/0"},
		"amqps://h/messages/events/a%20b/":                      {Kind: hubamqp.KindRedirect, Host: "h", Tail: "a%20b/"},
		"$management":                                           {Kind: hubamqp.KindEventsManagement},
		"eh/$management":                                        {Kind: hubamqp.KindEventsManagement, Entity: "eh"},
		"amqps://ns:5671/eh/$Management":                        {Kind: hubamqp.KindEventsManagement, Host: "ns", Entity: "eh"},
		"eh/ConsumerGroups/$Default/Partitions/0":               {Kind: hubamqp.KindEvents, Entity: "eh", Group: "$Default", Partition: "0"},
		"/eh/consumergroups/a%20b/partitions/12":                {Kind: hubamqp.KindEvents, Entity: "eh", Group: "a b", Partition: "12"},
		"sb://ns/eh/ConsumerGroups/cg/Partitions/3":             {Kind: hubamqp.KindEvents, Host: "ns", Entity: "eh", Group: "cg", Partition: "3"},
		"eh":              {Kind: hubamqp.KindEventsSend, Entity: "eh"},
		"sb://ns/eh":      {Kind: hubamqp.KindEventsSend, Host: "ns", Entity: "eh"},
		"eh/Partitions/1": {Kind: hubamqp.KindEventsSend, Entity: "eh", Partition: "1"},
		"eh/Publishers/p": {Kind: hubamqp.KindEventsSend, Entity: "eh"},
		"/devices/" + strings.Repeat("d", 128) + "/twin": {Kind: hubamqp.KindTwin, Device: strings.Repeat("d", 128)},
	} {
		got, err := hubamqp.ParseAddress(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
		// What it is written as says the same.
		if again, err := hubamqp.ParseAddress(want.String()); err != nil || again != want {
			t.Errorf("%s is written as %s, which is %+v, %v", in, want.String(), again, err)
		}
	}
}

func TestRefuseAddress(t *testing.T) {
	for _, in := range []string{
		"", "/", "//", "amqps://", "amqps:///devices/d/twin", "amqps://h", "amqps://h/", "$unknown", "messages", "messages/other",
		"messages/eventsx", "devices", "devices/d", "devices/d/", "devices//messages/events", "devices/d/messages", "devices/d/other",
		"devices/d/modules/m", "devices/d/modules//twin", "devices/d/modules/m/messages/other", "devices/d/messages/events/more",
		"devices/d/methods", "devices/d/twin/more", "//devices/d/twin", "devices/a%2Fb/twin", "devices/%ff/twin",
		"devices/" + strings.Repeat("d", 129) + "/twin", "devices/" + strings.Repeat("x", hubamqp.MaxAddress),
		"eh/ConsumerGroups/cg", "eh/ConsumerGroups/cg/Partitions", "eh/ConsumerGroups//Partitions/0", "eh/other", "a/b/c/d/e/f/g/h",
		"eh/ConsumerGroups/cg/Partitions/0/more", "%64evices", "%6Dessages/$management",
	} {
		_, err := hubamqp.ParseAddress(in)
		wantErr(t, err, causeway.AmqpAddressNotFound, "address")
	}
}

func TestDeviceAddress(t *testing.T) {
	id := causeway.Identity{Hub: "hub", Device: "a b", Module: "$m"}
	for kind, want := range map[hubamqp.Kind]string{
		hubamqp.KindTelemetry: "/devices/a%20b/modules/%24m/messages/events",
		hubamqp.KindCommands:  "/devices/a%20b/modules/%24m/messages/devicebound",
		hubamqp.KindMethods:   "/devices/a%20b/modules/%24m/methods/devicebound",
		hubamqp.KindTwin:      "/devices/a%20b/modules/%24m/twin",
	} {
		got := hubamqp.DeviceAddress(kind, id)
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
		a, err := hubamqp.ParseAddress(got)
		if err != nil || !a.OfDevice() || a.Identity("hub") != id {
			t.Errorf("%s is %+v, %v", got, a, err)
		}
	}
	if a, _ := hubamqp.ParseAddress("messages/events"); a.OfDevice() {
		t.Error("the redirect is of a device")
	}
	if got, want := hubamqp.CommandTo(id), "/devices/a%20b/modules/%24m/messages/deviceBound"; got != want {
		t.Errorf("to %s, want %s", got, want)
	}
}

// Any id survives being written into an address.
func TestAddressRoundTrip(t *testing.T) {
	id := rapid.Custom(func(t *rapid.T) string {
		return rapid.StringMatching(`[A-Za-z0-9.%_*?!(),:=@$'#+ é-]{1,30}`).Draw(t, "id")
	})
	rapid.Check(t, func(t *rapid.T) {
		want := hubamqp.Address{
			Kind:   rapid.SampledFrom([]hubamqp.Kind{hubamqp.KindTelemetry, hubamqp.KindCommands, hubamqp.KindMethods, hubamqp.KindTwin}).Draw(t, "kind"),
			Device: id.Draw(t, "device"),
			Host:   rapid.SampledFrom([]string{"", "hub.example.com"}).Draw(t, "host"),
		}
		if rapid.Bool().Draw(t, "module") {
			want.Module = id.Draw(t, "module")
		}
		if got, err := hubamqp.ParseAddress(want.String()); err != nil || got != want {
			t.Fatalf("%s: %+v, %v, want %+v", want.String(), got, err, want)
		}
		d, m, err := hubamqp.ParseCommandTarget(hubamqp.CommandTo(want.Identity("hub")))
		if err != nil || d != want.Device || m != want.Module {
			t.Fatalf("target %s/%s, %v", d, m, err)
		}
		if len(want.Device)+len(want.Module) == 0 {
			t.Fatal("nothing drawn")
		}
	})
}

func TestParseCommandTarget(t *testing.T) {
	for to, want := range map[string][2]string{
		"/devices/dev1/messages/devicebound":                        {"dev1", ""},
		"/devices/dev1/messages/deviceBound":                        {"dev1", ""},
		"/DEVICES/dev1/messages/DeviceBound":                        {"dev1", ""},
		"devices/dev1/messages/devicebound":                         {"dev1", ""},
		"/devices/a%20b%24/messages/devicebound":                    {"a b$", ""},
		"/devices/a b$/messages/devicebound":                        {"a b$", ""},
		"/devices/dev1/modules/mod1/messages/deviceBound":           {"dev1", "mod1"},
		"amqps://hub.example.com/devices/dev1/messages/devicebound": {"dev1", ""},
		"/devices/d@x.y:1,(2)='3'/modules/$m/messages/devicebound":  {"d@x.y:1,(2)='3'", "$m"},
		"/devices/100%25/modules/%24edgeAgent/messages/devicebound": {"100%", "$edgeAgent"},
	} {
		d, m, err := hubamqp.ParseCommandTarget(to)
		if err != nil || [2]string{d, m} != want {
			t.Errorf("%s: %q %q %v, want %q", to, d, m, err, want)
		}
	}
	for _, to := range []string{"", "dev1", "/devices/dev1", "/devices/dev1/messages/events", "/messages/devicebound", strings.Repeat("x", 5000)} {
		_, _, err := hubamqp.ParseCommandTarget(to)
		wantErr(t, err, causeway.ArgumentInvalid, "\"to\"")
	}
}

func TestParseAudience(t *testing.T) {
	for name, want := range map[string]hubamqp.Audience{
		"hub.example.com/devices/dev1":                          {Host: "hub.example.com", Device: "dev1", Path: "devices/dev1"},
		"HUB.example.com/devices/Dev1":                          {Host: "hub.example.com", Device: "Dev1", Path: "devices/Dev1"},
		"hub.example.com%2Fdevices%2Fdev1":                      {Host: "hub.example.com", Device: "dev1", Path: "devices/dev1"},
		"hub.example.com%2fdevices%2fdev1%2fmodules%2fmod1":     {Host: "hub.example.com", Device: "dev1", Module: "mod1", Path: "devices/dev1/modules/mod1"},
		"hub.example.com/devices/dev1/modules/mod1":             {Host: "hub.example.com", Device: "dev1", Module: "mod1", Path: "devices/dev1/modules/mod1"},
		"hub.example.com%2Fdevices%2Fa%2520b":                   {Host: "hub.example.com", Device: "a b", Path: "devices/a b"},
		"hub.example.com/devices/a%20b":                         {Host: "hub.example.com", Device: "a b", Path: "devices/a b"},
		"hub.example.com/devices/dev1/messages/events":          {Host: "hub.example.com", Device: "dev1", Path: "devices/dev1"},
		"hub.example.com/devices":                               {Host: "hub.example.com", Path: "devices"},
		"amqps://hub.example.com:5671/":                         {Host: "hub.example.com"},
		"https://hub.example.com":                               {Host: "hub.example.com"},
		"https%3A%2F%2Fhub.example.com":                         {Host: "hub.example.com"},
		"hub.example.com":                                       {Host: "hub.example.com"},
		"sb://ns.example.com/eh/ConsumerGroups/cg/Partitions/0": {Host: "ns.example.com", Path: "eh/ConsumerGroups/cg/Partitions/0"},
		"sb://ns.example.com/eh/$management":                    {Host: "ns.example.com", Path: "eh/$management"},
		"sb://ns.example.com/eh":                                {Host: "ns.example.com", Path: "eh"},
		"amqps://hub.example.com/devices/dev1":                  {Host: "hub.example.com", Device: "dev1", Path: "devices/dev1"},
	} {
		got, err := hubamqp.ParseAudience(name)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"", "/", "amqps://", "/devices/dev1", "\xff", "h/%ff", strings.Repeat("x", 5000)} {
		_, err := hubamqp.ParseAudience(name)
		wantErr(t, err, causeway.ArgumentInvalid, "name")
	}
	key := func(name string) string {
		a, err := hubamqp.ParseAudience(name)
		if err != nil {
			t.Error(err)
		}
		return a.Key()
	}
	id := causeway.Identity{Device: "a b", Module: "$m"}
	if got, want := key(hubamqp.AudienceOf("Hub.example.com", id)), key("hub.example.com%2Fdevices%2Fa%2520b%2Fmodules%2F%2524m"); got != want || got != "hub.example.com/devices/a b/modules/$m" {
		t.Errorf("keys %q and %q", got, want)
	}
	if got := key("https://hub.example.com"); got != "hub.example.com" {
		t.Errorf("key %q", got)
	}
}
