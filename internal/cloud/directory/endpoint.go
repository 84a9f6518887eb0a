package directory

import (
	"strconv"
	"strings"
)

// defaultAMQPPort is the port that clients use when none is named.
const defaultAMQPPort = 5671

// EventsHost returns the host of the Event Hubs-compatible endpoint: a host of
// the hub that looks like a namespace of that service when it has one, as some
// tools insist on, else its canonical host. Every host of the hub serves it.
func (h Hub) EventsHost() string {
	for _, host := range h.Hosts {
		if strings.Contains(host, ".servicebus.") {
			return host
		}
	}
	if len(h.Hosts) == 0 {
		return ""
	}
	return h.Hosts[0]
}

// EventsEntity returns the name of the hub's event hub.
func (h Hub) EventsEntity() string { return h.Name }

// EventsConnectionString returns the text with which Event Hubs clients read
// the hub's events under a policy:
// "Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…". It
// contains the key.
func (h Hub) EventsConnectionString(policy string, port int) (string, bool) {
	p, ok := h.Policy(policy)
	host := h.EventsHost()
	if !ok || host == "" {
		return "", false
	}
	if port != defaultAMQPPort {
		host += ":" + strconv.Itoa(port)
	}
	return "Endpoint=sb://" + host + "/;SharedAccessKeyName=" + p.Name + ";SharedAccessKey=" + string(p.Primary) +
		";EntityPath=" + h.EventsEntity(), true
}
