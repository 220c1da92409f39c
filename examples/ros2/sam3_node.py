#!/usr/bin/env python3
"""A ROS 2 node that publishes what `sam3 track` follows in a camera's frames.

    ros2 run your_package sam3_node.py --ros-args -p source:=v4l2:///dev/video0 \
        -p checkpoint:=models/sam3_fp16.pth -p prompts:="['person', 'forklift']"

It runs `sam3` as a child, reads a line of JSON a frame from it, and publishes a `vision_msgs/Detection2DArray` on
`~/detections`: the object's id, its prompt as the class, its score, its box in pixels. The stamp is when the frame came.
Nothing is published of frames that were dropped. The node ends with the child, and the child with the node.
"""

import json
import subprocess
import threading

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose


class Sam3(Node):
    def __init__(self):
        super().__init__("sam3")
        self.declare_parameter("source", "v4l2:///dev/video0")
        self.declare_parameter("checkpoint", "models/sam3_fp16.pth")
        self.declare_parameter("prompts", ["person"])
        self.declare_parameter("frame_id", "camera")
        self.declare_parameter("output", "/tmp/sam3")
        value = lambda name: self.get_parameter(name).value
        self.frame_id = value("frame_id")
        self.publisher = self.create_publisher(Detection2DArray, "~/detections", 1)
        command = ["sam3", "track", "--source", value("source"), "--checkpoint-path", value("checkpoint")]
        command += ["--output", value("output"), "--force", "--reconnect", "86400", "--json", "--quiet"]
        for prompt in value("prompts"):
            command += ["--prompt", prompt]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            self.publish(json.loads(line))
        self.get_logger().info(f"sam3 ended with {self.child.wait()}")
        rclpy.try_shutdown()

    def publish(self, frame):
        came = self.get_clock().now() - Duration(nanoseconds=int(frame["latency_ms"] * 1e6))
        message = Detection2DArray()
        message.header.stamp, message.header.frame_id = came.to_msg(), self.frame_id
        for found in frame["objects"]:
            if found["state"] == "removed":
                continue
            x1, y1, x2, y2 = (float(side) for side in found["box"])
            detection = Detection2D(header=message.header, id=str(found["id"]))
            detection.bbox.center.position.x, detection.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
            detection.bbox.size_x, detection.bbox.size_y = x2 - x1, y2 - y1
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = found["prompt"], float(found["score"])
            detection.results.append(result)
            message.detections.append(detection)
        self.publisher.publish(message)


def main():
    rclpy.init()
    node = Sam3()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        node.child.terminate()
        node.child.wait()


if __name__ == "__main__":
    main()
