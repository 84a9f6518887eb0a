// Package client is the Go SDK of Causeway and of anything that speaks the
// protocols of Azure IoT Hub.
//
// There are three clients:
//
//   - [Device] is a device or a module. It talks MQTT over TLS, or over a
//     WebSocket, sends telemetry, keeps a twin, receives commands and answers
//     direct methods. It renews its tokens and reconnects by itself; telemetry
//     that was not acknowledged is sent again.
//   - [Service] is a back end. It talks REST: identities, twins, direct
//     methods, cloud-to-device messages, statistics.
//   - [Admin] is an operator of a Causeway cloud: its hubs, and the live stream
//     of what they receive. It has no counterpart in Azure IoT Hub.
//
// # Errors
//
// What a server refuses comes back as a [*causeway.Error] with the server's
// code, so that
//
//	causeway.CodeOf(err) == causeway.DeviceNotFound
//
// works on both sides of the wire. An error without a code in its chain has
// not come from a server: the network, TLS, a context that ended.
package client
