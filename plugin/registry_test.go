package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/plugin"
)

type config struct {
	URL     string            `json:"url" doc:"where to" example:"https://example.com"`
	Format  string            `json:"format" doc:"how" default:"json" oneof:"json xml"`
	Timeout plugin.Duration   `json:"timeout" doc:"how long" default:"30s"`
	Batch   int               `json:"batch" doc:"how many" default:"100"`
	Fast    bool              `json:"fast,omitempty" doc:"whether"`
	Headers map[string]string `json:"headers,omitempty" doc:"which"`
	Token   causeway.Secret   `json:"token,omitempty" doc:"to be let in"`
}

func (c *config) Validate() error {
	if c.Batch < 1 {
		return errors.New(`setting "batch" must be at least 1`)
	}
	return nil
}

type nowhere struct{ config }

func (nowhere) Send(context.Context, []causeway.Message) error { return nil }
func (nowhere) Close() error                                   { return nil }

func registry() *plugin.Registry {
	r := &plugin.Registry{}
	plugin.AddSink(r, "web", "Posts", func(c config, _ plugin.Env) (plugin.Sink, error) { return nowhere{c}, nil })
	return r
}

func TestOpen(t *testing.T) {
	r := registry()
	rest, secrets, err := r.Split("web", json.RawMessage(`{"url":"u","token":"t","headers":{"a":"b"},"timeout":"2m"}`))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(rest), "token") || secrets["token"] != "t" {
		t.Errorf("rest %s, secrets %d", rest, len(secrets))
	}
	s, err := r.Open("web", rest, secrets, plugin.Env{})
	if err != nil {
		t.Fatal(err)
	}
	c := s.(nowhere).config
	if c.URL != "u" || c.Format != "json" || time.Duration(c.Timeout) != 2*time.Minute || c.Batch != 100 || c.Token != "t" || c.Headers["a"] != "b" {
		t.Errorf("%+v", c)
	}
	if k := r.Kinds(); len(k) != 1 || len(k[0].Fields) != 7 || !k[0].Fields[0].Required || k[0].Fields[6].Type != "secret" {
		t.Errorf("%+v", k)
	}
}

func TestBadInput(t *testing.T) {
	for _, row := range []struct{ name, kind, settings, says string }{
		{"kind", "fax", `{}`, `"fax": use web`},
		{"no object", "web", `[]`, "no JSON object"},
		{"cut off", "web", `{"url":`, "no JSON object"},
		{"missing", "web", `{}`, `"url" is missing: where to, for example https://example.com`},
		{"null", "web", `{"url":null}`, `"url" is missing`},
		{"unknown", "web", `{"url":"u","uri":"v"}`, `"uri" is not known; there are url, format`},
		{"type", "web", `{"url":7}`, `"url" must be a text, for example https`},
		{"choice", "web", `{"url":"u","format":"csv"}`, `"format" cannot be "csv": use json or xml`},
		{"duration", "web", `{"url":"u","timeout":"fast"}`, `"timeout" must be a duration`},
		{"number", "web", `{"url":"u","batch":1e30}`, `"batch" must be a number`},
		{"own check", "web", `{"url":"u","batch":0}`, `"batch" must be at least 1`},
		{"secret of another type", "web", `{"url":"u","token":{"x":1}}`, `"token" must be`},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := registry()
			rest, secrets, err := r.Split(row.kind, json.RawMessage(row.settings))
			if err == nil {
				err = r.Check(row.kind, rest, secrets)
			}
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
}

func TestFailureOf(t *testing.T) {
	why := errors.New("why")
	for name, row := range map[string]struct {
		err  error
		want plugin.SendError
	}{
		"plain":   {why, plugin.SendError{Err: why}},
		"refused": {plugin.Refused(why), plugin.SendError{Permanent: true, Err: why}},
		"at":      {plugin.RefusedAt(3, why), plugin.SendError{Sent: 3, Permanent: true, Exact: true, Err: why}},
		"partly":  {plugin.Partly(2, why), plugin.SendError{Sent: 2, Err: why}},
		"busy":    {plugin.Busy(time.Second, why), plugin.SendError{After: time.Second, Err: why}},
	} {
		if got := plugin.FailureOf(row.err); got != row.want {
			t.Errorf("%s: %+v", name, got)
		}
		if !errors.Is(row.err, why) {
			t.Errorf("%s does not unwrap", name)
		}
	}
}

// Settings of all forms end in a sink or in an error.
func FuzzSettings(f *testing.F) {
	f.Add(`{"url":"u","headers":{"a":"b"},"timeout":"1s","token":"x"}`)
	f.Add(`{"url":{},"batch":-1}`)
	f.Fuzz(func(t *testing.T, settings string) {
		r := registry()
		rest, secrets, err := r.Split("web", json.RawMessage(settings))
		if err != nil {
			return
		}
		_ = r.Check("web", rest, secrets)
	})
}
