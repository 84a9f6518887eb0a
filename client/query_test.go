package client_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

func TestQuery(t *testing.T) {
	var asked []string
	h, o := newHub(t, func(w http.ResponseWriter, r *http.Request) {
		next := r.Header.Get("x-ms-continuation")
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("x-ms-max-item-count")+" "+next)
		w.Header().Set("x-ms-item-type", "Raw")
		switch next {
		case "":
			w.Header().Set("x-ms-continuation", "one")
			fmt.Fprint(w, `[{"n":1},{"n":2}]`)
		case "one": // empty, and not the last
			w.Header().Set("x-ms-continuation", "two")
			fmt.Fprint(w, `[]`)
		case "two":
			fmt.Fprint(w, `[{"n":3}]`)
		default:
			w.Header().Set("iothub-errorcode", "ArgumentInvalid")
			w.WriteHeader(400)
			fmt.Fprint(w, `{"Message":"ErrorCode:ArgumentInvalid;The query is invalid. Line 1, column 8: nonsense"}`)
		}
	})
	s, err := client.NewService("HostName=example.com;SharedAccessKeyName=service;SharedAccessKey="+serviceKey, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := s.QueryPage(t.Context(), "SELECT n", 2, "")
	if err != nil || p.ItemType != "Raw" || len(p.Items) != 2 || p.Continuation != "one" || h.body != `{"query":"SELECT n"}` {
		t.Errorf("%+v %v, sent %s", p, err, h.body)
	}
	got := ""
	for item, err := range s.Query(t.Context(), "SELECT n") {
		if err != nil {
			t.Fatal(err)
		}
		got += string(item)
	}
	if want := `{"n":1}{"n":2}{"n":3}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if want := "[POST /devices/query 2  POST /devices/query   POST /devices/query  one POST /devices/query  two]"; fmt.Sprint(asked) != want {
		t.Errorf("asked %q", asked)
	}
	if _, err := s.QueryPage(t.Context(), "SELECT n", 0, "bad"); causeway.CodeOf(err) != causeway.ArgumentInvalid || causeway.MessageOf(err) != "The query is invalid. Line 1, column 8: nonsense" {
		t.Errorf("%v", err)
	}
	asked = nil
	for range s.Query(t.Context(), "SELECT n") { // one who has seen enough
		break
	}
	if len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
}
