"""napari's layers: conversion to and from `core`, transforms, tags, keys."""
