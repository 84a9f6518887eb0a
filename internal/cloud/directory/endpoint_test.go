package directory_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

func TestEventsConnectionString(t *testing.T) {
	policies := []auth.Policy{{Name: "service", Primary: "a2V5"}}
	tests := []struct {
		name string
		hub  directory.Hub
		port int
		want string
	}{
		{
			"own host",
			directory.Hub{Name: "plant", Hosts: []string{"plant.example"}, Policies: policies},
			5671,
			"Endpoint=sb://plant.example/;SharedAccessKeyName=service;SharedAccessKey=a2V5;EntityPath=plant",
		},
		{
			"another port",
			directory.Hub{Name: "plant", Hosts: []string{"plant.example"}, Policies: policies},
			6000,
			"Endpoint=sb://plant.example:6000/;SharedAccessKeyName=service;SharedAccessKey=a2V5;EntityPath=plant",
		},
		{
			"a namespace",
			directory.Hub{Name: "plant", Hosts: []string{"plant.example", "ns-plant.servicebus.windows.net"}, Policies: policies},
			5671,
			"Endpoint=sb://ns-plant.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey=a2V5;EntityPath=plant",
		},
		{"no such policy", directory.Hub{Name: "plant", Hosts: []string{"plant.example"}}, 5671, ""},
		{"no host", directory.Hub{Name: "plant", Policies: policies}, 5671, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.hub.EventsConnectionString("service", tt.port)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, tt.want)
			}
		})
	}
}
