// Package client is the Go SDK of Causeway and of anything that speaks the
// protocols of Azure IoT Hub.
//
// [Provision] asks a provisioning service for the hub of a device. Then there are
// six clients:
//
//   - [Device] is a device or a module. It talks MQTT or AMQP over TLS, or over
//     a WebSocket, sends telemetry, keeps a twin, receives commands and answers
//     direct methods. It renews its tokens and reconnects by itself; telemetry
//     that was not acknowledged is sent again. A [Pool] shares AMQP connections
//     among devices.
//   - [Service] is a back end. It talks REST: identities, twins, direct
//     methods, cloud-to-device messages, statistics.
//   - [Messaging] is what a back end says and hears by AMQP: cloud-to-device
//     messages, feedback about them, notifications of uploaded files.
//   - [Events] reads the events of a hub by AMQP, from its Event
//     Hubs-compatible endpoint: [EventReader] one partition, [Events.Consume]
//     all of them, with checkpoints.
//   - [Enrollments] is a back end of a provisioning service: which devices may
//     come, and what became of them.
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
