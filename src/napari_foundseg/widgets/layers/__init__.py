"""napari layers: conversion to and from `core`, transforms, tags, keys."""
