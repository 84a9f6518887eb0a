package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

func TestConfigurations(t *testing.T) {
	var asked string
	h, o := newHub(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.EscapedPath() + " " + r.Header.Get("If-Match")
		switch {
		case r.URL.Path == "/configurations":
			fmt.Fprint(w, `[{"id":"a","priority":1,"systemMetrics":{"results":{"targetedCount":7},"queries":{}}}]`)
		case r.URL.Path == "/configurations/testQueries":
			fmt.Fprint(w, `{"targetConditionError":"no","customMetricQueryErrors":{"m":"nor this"}}`)
		case r.URL.Path == "/configurations/missing":
			w.Header().Set("iothub-errorcode", "ConfigurationNotFound")
			w.WriteHeader(404)
			fmt.Fprint(w, `{"Message":"ErrorCode:ConfigurationNotFound;configuration \"missing\" does not exist"}`)
		case r.Method == http.MethodDelete, r.Method == http.MethodPost:
			w.WriteHeader(204)
		default:
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			fmt.Fprint(w, `{"id":"50%","content":{"deviceContent":{"properties.desired.a":1.50}},"targetCondition":"*","priority":3,"etag":"e","createdTimeUtc":"2026-01-02T03:04:05.0000000Z"}`)
		}
	})
	s, err := client.NewService("HostName=example.com;SharedAccessKeyName=service;SharedAccessKey="+serviceKey, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	check := func(want, body string, err error) {
		t.Helper()
		if err != nil || asked != want || body != "" && h.body != body {
			t.Errorf("asked %q with %s, %v; want %q with %s", asked, h.body, err, want, body)
		}
	}
	content := client.ConfigurationContent{Device: map[string]json.RawMessage{"properties.desired.a": json.RawMessage("1.50")}}
	c, err := s.CreateConfiguration(ctx, client.Configuration{ID: "50%", Content: content, TargetCondition: "*", Priority: 3})
	check("PUT /configurations/50%25 ", `{"id":"50%","content":{"deviceContent":{"properties.desired.a":1.50}},"targetCondition":"*","priority":3}`, err)
	if string(c.Content.Device["properties.desired.a"]) != "1.50" || c.ETag != "e" || c.Created.Year() != 2026 {
		t.Errorf("%+v", c)
	}
	_, err = s.UpdateConfiguration(ctx, c, c.ETag)
	check(`PUT /configurations/50%25 "e"`, "", err)
	_, err = s.Configuration(ctx, "50%")
	check("GET /configurations/50%25 ", "", err)
	list, err := s.Configurations(ctx, 5)
	check("GET /configurations ", "", err)
	if len(list) != 1 || list[0].SystemMetrics.Results["targetedCount"] != 7 {
		t.Errorf("%+v", list)
	}
	wrong, err := s.TestConfiguration(ctx, "x", map[string]string{"m": "y"})
	check("POST /configurations/testQueries ", `{"customMetricQueries":{"m":"y"},"targetCondition":"x"}`, err)
	if wrong.Condition != "no" || wrong.Queries["m"] != "nor this" {
		t.Errorf("%+v", wrong)
	}
	check("POST /devices/d/applyConfigurationContent ", `{"deviceContent":{"properties.desired.a":1.50}}`, func() error { return s.ApplyConfiguration(ctx, "d", content) }())
	check("DELETE /configurations/50%25 *", "", s.DeleteConfiguration(ctx, "50%", ""))
	if _, err := s.Configuration(ctx, "missing"); causeway.CodeOf(err) != causeway.ConfigurationNotFound {
		t.Error(err)
	}
}
