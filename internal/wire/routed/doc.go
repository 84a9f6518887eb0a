// Package routed is how messages look that leave the hub through routes: the
// records of IoT Hub's storage endpoints, and the events of Event Grid in both
// its forms.
//
// It knows names and shapes, and nothing of where they are sent.
package routed
