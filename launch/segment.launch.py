"""One ecmnet_node, for one camera or several.

    ros2 launch ecmnet_ros segment.launch.py camera:=/front/image_raw
    ros2 launch ecmnet_ros segment.launch.py camera:=/front/image_raw profile:=nav2_obstacle
    ros2 launch ecmnet_ros segment.launch.py cameras:="front=/front/image_raw left=/left/image_raw"

Parameters come from, each over the one before: the shipped weights, config/ecmnet.param.yaml, the
profile's file in config/profiles, `params_file`, the other arguments where they are given. What a
profile calls the topics is in config/profiles/remappings.yaml.
"""

import os
import re
from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# The checkout and the installed share folder have launch/, config/ and models/ side by side.
SHARE = Path(__file__).resolve().parent.parent

PROFILES_FOLDER = SHARE / "config" / "profiles"

ARGUMENTS = {
    "camera": ("image", "Topic of the images, Image or CompressedImage"),
    "cameras": ("", "Several cameras instead: NAME=TOPIC of each, with spaces between them"),
    "weights": ("", "Weights file; without it params_file's, else the CamVid weights"),
    "device": ("", "auto, cpu, cuda or cuda:N; without it params_file's, else auto"),
    "profile": ("", "Who reads the outputs: sets names of topics and parameters"),
    "params_file": ("", "Parameter file, over the shipped defaults and the profile"),
    "autostart": (
        "",
        "true or false: whether the node starts by itself, or waits for a lifecycle manager",
    ),
    "use_sim_time": ("", "true or false: whether time comes from /clock"),
    "respawn": (
        "false",
        "Whether the node is started again however it ends; after a lost GPU it always is",
    ),
    "name": ("ecmnet", "Name of the node"),
    "namespace": ("", "Namespace of the node"),
    "enclave": ("", "SROS 2 enclave of the node, such as /ecmnet"),
    "log_level": ("info", "Least severity that is logged"),
}

# The node's exit status when its GPU is lost to the process, and only a new process can go on.
GPU_LOST = 3

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def generate_launch_description() -> LaunchDescription:
    """The arguments, the Fast DDS profile unless the user has one, the node."""
    choices = {"profile": ["", *profiles()]}
    arguments = [
        DeclareLaunchArgument(
            name, default_value=default, description=description, choices=choices.get(name)
        )
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, *dds_profile(), OpaqueFunction(function=kept_node)])


def profiles() -> dict[str, dict[str, str]]:
    """The names that each profile gives to topics."""
    return yaml.safe_load((PROFILES_FOLDER / "remappings.yaml").read_text())


def dds_profile() -> list[SetEnvironmentVariable]:
    """The profile for big images, unless the user has set one."""
    if any(os.environ.get(name) for name in PROFILE_VARIABLES):
        return []
    profile = str(SHARE / "config" / "fastdds_large_images.xml")
    return [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]


def kept_node(context: LaunchContext) -> list[RegisterEventHandler | Node]:
    """The node, and another one at once when it ends because its GPU is lost."""
    # The arguments are gone from the context by the time that the node ends, in an included launch.
    return kept({name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS})


def kept(given: dict[str, str]) -> list[RegisterEventHandler | Node]:
    """The node of these arguments; it is made anew each time, as an action runs once."""
    started = node(given)

    def again(event: ProcessExited, _: LaunchContext) -> list[RegisterEventHandler | Node]:
        return kept(given) if event.returncode == GPU_LOST else []

    if truth(given["respawn"]):
        return [started]
    return [RegisterEventHandler(OnProcessExit(target_action=started, on_exit=again)), started]


def node(given: dict[str, str]) -> Node:
    """The node, with the parameters that the arguments give."""
    # The default is one for all nodes, as those of params_file are. launch_ros gives parameters to
    # the node by name, and r2r would let all of params_file win over names it has met before it.
    weights = SHARE / "models" / "ecmnet_camvid.safetensors"
    defaults = ["-p", f'weights:="{weights}"']
    parameters: list = [str(SHARE / "config" / "ecmnet.param.yaml")]
    if given["profile"]:
        parameters.append(str(PROFILES_FOLDER / f"{given['profile']}.param.yaml"))
    if given["params_file"]:
        parameters.append(given["params_file"])
    parameters += [{name: given[name]} for name in ("weights", "device") if given[name]]
    if given["cameras"]:
        parameters.append({"cameras": [name for name, _ in camera_topics(given)]})
    for name in ("autostart", "use_sim_time"):
        if given[name]:
            parameters.append({name: truth(given[name])})
    enclave = ["--enclave", given["enclave"]] if given["enclave"] else []
    return Node(
        package="ecmnet_ros",
        executable="ecmnet_node",
        name=given["name"],
        namespace=given["namespace"],
        parameters=parameters,
        remappings=remappings(given),
        arguments=["--ros-args", "--log-level", given["log_level"], *enclave, *defaults],
        output="screen",
        respawn=truth(given["respawn"]),
        respawn_delay=1.0,
    )


def camera_topics(given: dict[str, str]) -> list[tuple[str, str]]:
    """Name and topic of each camera; the name is empty where there is but one."""
    if not given["cameras"]:
        return [("", given["camera"])]
    pairs = [pair.partition("=")[::2] for pair in given["cameras"].split()]
    if not all(name and topic for name, topic in pairs):
        raise ValueError(f"'{given['cameras']}' is no list of NAME=TOPIC for cameras")
    return pairs


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """The cameras' topics, and what the profile calls the node's."""
    profile = profiles()[given["profile"]] if given["profile"] else {}
    rules = {}
    for place, (name, topic) in enumerate(camera_topics(given)):
        prefix = f"{name}/" if name else ""
        rules[f"{prefix}image"] = topic
        number = re.search(r"/camera(\d+)/", topic)
        camera = number[1] if number else str(place)
        for rule in profile.items():
            own, others = (part.replace("{name}", prefix) for part in rule)
            rules[own] = others.replace("{camera}", camera)
    return list(rules.items())


def truth(text: str) -> bool:
    """The value of a true-or-false argument."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"'{text}' is neither true nor false")
    return text.lower() == "true"
